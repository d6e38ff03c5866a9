"""Four marks on a page, twice: as SVG text, or as PNG pixels.

    rect, line, polygon, text            enough for a picture of a call

SVG is written here: forty lines, no dependency, text stays text. PNG needs Pillow (the extra `png`), which brings its
own font, so that a machine without fonts draws the same picture; it is drawn at twice the size and reduced, since
Pillow does not smooth edges itself.

Units    pixels from the top left; colours as `#rrggbb`; `opacity` 0 to 1.
Used by  cli/picture.py.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal, Protocol
from xml.sax.saxutils import escape, quoteattr

from router.errors import AudioError

__all__ = ["Anchor", "Canvas", "Png", "Svg"]

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


class Canvas(Protocol):
    """Where a picture is drawn."""

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str, *, opacity: float = 1, radius: float = 0, tip: str = ""
    ) -> None: ...

    def line(self, a: Point, b: Point, colour: str, *, width: float = 1, dashed: bool = False) -> None: ...

    def polygon(self, points: Sequence[Point], fill: str) -> None: ...

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str,
        *,
        size: float = 12,
        bold: bool = False,
        anchor: Anchor = "start",
    ) -> None:
        """`y` is the base line."""
        ...

    def data(self) -> bytes: ...


class Svg:
    """Scalable vector graphics; `tip` becomes a title that a browser shows at the pointer."""

    def __init__(self, width: float, height: float, background: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="Inter, Helvetica, Arial, sans-serif">',
            f'<rect width="100%" height="100%" fill="{background}"/>',
        ]

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str, *, opacity: float = 1, radius: float = 0, tip: str = ""
    ) -> None:
        more = (f' fill-opacity="{opacity:g}"' if opacity < 1 else "") + (f' rx="{radius:g}"' if radius else "")
        head = f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0):.1f}" height="{max(h, 0):.1f}" fill="{fill}"{more}'
        self._parts.append(f"{head}><title>{escape(_clean(tip))}</title></rect>" if tip else f"{head}/>")

    def line(self, a: Point, b: Point, colour: str, *, width: float = 1, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(
            f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" '
            f'stroke="{colour}" stroke-width="{width:g}"{dash}/>'
        )

    def polygon(self, points: Sequence[Point], fill: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{path}" fill="{fill}"/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str,
        *,
        size: float = 12,
        bold: bool = False,
        anchor: Anchor = "start",
    ) -> None:
        more = (' font-weight="600"' if bold else "") + (
            f" text-anchor={quoteattr(anchor)}" if anchor != "start" else ""
        )
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}"{more}>{escape(_clean(text))}</text>'
        )

    def data(self) -> bytes:
        return ("\n".join([*self._parts, "</svg>"]) + "\n").encode()


class Png:
    """Pixels. Raises AudioError (of the file wanted) without Pillow."""

    _TWICE = 2

    def __init__(self, width: float, height: float, background: str) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError:
            raise AudioError("picture", "PNG needs Pillow: pip install 'patchbay[png]', or ask for an .svg") from None
        k = self._TWICE
        self._fonts: dict[int, Any] = {}
        self._font, self._overlay = ImageFont.load_default, Image.new
        self._composite = Image.alpha_composite
        self._reduce = Image.Resampling.LANCZOS
        self._draw_on = ImageDraw.Draw
        self._image = Image.new("RGBA", (round(width * k), round(height * k)), background)
        self._draw = ImageDraw.Draw(self._image)

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str, *, opacity: float = 1, radius: float = 0, tip: str = ""
    ) -> None:
        k = self._TWICE
        if w <= 0 or h <= 0:
            return
        size = (max(1, round(w * k)), max(1, round(h * k)))
        box = (round(x * k), round(y * k), round(x * k) + size[0] - 1, round(y * k) + size[1] - 1)
        if opacity >= 1:
            self._draw.rounded_rectangle(box, radius * k, fill=fill)
            return
        layer = self._overlay("RGBA", size, (0, 0, 0, 0))  # only as large as the mark: an overlay of the page is slow
        colour = (*(int(fill[i : i + 2], 16) for i in (1, 3, 5)), round(opacity * 255))
        self._draw_on(layer).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius * k, fill=colour)
        self._image.alpha_composite(layer, (max(box[0], 0), max(box[1], 0)))

    def line(self, a: Point, b: Point, colour: str, *, width: float = 1, dashed: bool = False) -> None:
        k = self._TWICE
        if not dashed:
            self._draw.line((a[0] * k, a[1] * k, b[0] * k, b[1] * k), fill=colour, width=max(1, round(width * k)))
            return
        length = max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1e-9)
        at = 0.0
        while at < length:
            f, g = at / length, min(at + 4, length) / length
            ends = [(a[0] + (b[0] - a[0]) * s, a[1] + (b[1] - a[1]) * s) for s in (f, g)]
            self.line(ends[0], ends[1], colour, width=width)
            at += 7

    def polygon(self, points: Sequence[Point], fill: str) -> None:
        self._draw.polygon([(x * self._TWICE, y * self._TWICE) for x, y in points], fill=fill)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str,
        *,
        size: float = 12,
        bold: bool = False,
        anchor: Anchor = "start",
    ) -> None:
        pixels = round(size * self._TWICE)
        font = self._fonts.setdefault(pixels, self._font(pixels))
        place = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        stroke = 0.4 * self._TWICE if bold else 0
        self._draw.text(
            (x * self._TWICE, y * self._TWICE),
            _clean(text),
            fill=colour,
            font=font,
            anchor=place,
            stroke_width=stroke,
            stroke_fill=colour,
        )

    def data(self) -> bytes:
        small = self._image.convert("RGB").resize(
            (self._image.width // self._TWICE, self._image.height // self._TWICE), self._reduce
        )
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
        return out.getvalue()


def _clean(text: str) -> str:
    """Without the control characters that XML forbids and that no font draws."""
    return "".join(c if c.isprintable() else " " for c in text)

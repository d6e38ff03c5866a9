"""A call on one page: who spoke, who heard what, and how long everything took, over one time axis.

    caller      waveform sent; speech as the VAD heard it behind it; spans in which the file was held
    transcript  a bar for every final over the audio that it covers; ticks for partials; turns as flags
    agent       waveform heard; replies behind it: finished, interrupted, held
    reply       what was said; what was heard of it, where that is less
    latency     for every turn the way from the last voiced frame to the first audio, piece by piece

The axis is media time. Events are placed where they reached the caller; transcripts and speech where they say.

Used by  `patchbay call --picture`, the demo. Pure: a CallLog in, bytes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.events import (
    AgentText,
    ProviderChanged,
    SessionClosed,
    SpeechDiscarded,
    SpeechStarted,
    SpeechStopped,
    TranscriptFinal,
    TranscriptPartial,
    TurnEnded,
    TurnLatency,
    VoiceHeld,
    VoiceResumed,
    VoiceStarted,
    VoiceStopped,
)
from cli.calllog import CallLog, Samples
from cli.canvas import Canvas, Png, Svg
from router.errors import AudioError

__all__ = ["check_name", "draw", "replies", "save", "speech_spans"]

PAPER, INK, FAINT, GRID = "#ffffff", "#1f2933", "#7b8794", "#e4e7eb"
CALLER, AGENT = "#2f6fde", "#0f9d78"
SPEECH, HELD_FILE, REPLY, CUT, PAUSED = "#dbe7fd", "#f0f2f5", "#d5f2e8", "#e12d39", "#f0b429"
PARTS = (("endpoint", "#9aa5b1"), ("stt", "#4c8bf5"), ("agent", "#9b6ef3"), ("voice", "#19b88c"))
LEFT, RIGHT, TOP = 96, 28, 64
WAVE_H, ROW_H, GAP = 72, 22, 14


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply on the axis."""

    reply_id: int
    start_s: float
    end_s: float
    why: str
    said: str
    heard: str
    held: tuple[tuple[float, float], ...]


def save(path: Path, log: CallLog) -> None:
    """Write the picture; the name's ending decides. Raises AudioError for another ending or a file that fails."""
    data = draw(log, check_name(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise AudioError("picture", f"{path}: {error.strerror}") from None


def check_name(path: Path) -> type[Svg] | type[Png]:
    """What draws a file of this name. Raises AudioError for an ending that none does."""
    match path.suffix.lower():
        case ".svg":
            return Svg
        case ".png":
            return Png
        case _:
            raise AudioError("picture", f"{path}: a name that ends in .svg or .png is taken")


def draw(log: CallLog, canvas: type[Svg] | type[Png]) -> bytes:
    """The picture as bytes."""
    page = _Page(log)
    surface = canvas(page.width, page.height, PAPER)
    page.draw(surface)
    return surface.data()


def speech_spans(log: CallLog) -> list[tuple[float, float, bool]]:
    """(from, to, discarded) of every utterance, media seconds; one that never stopped ends with the call."""
    starts: dict[int, float] = {}
    spans: dict[int, tuple[float, float, bool]] = {}
    for _, event in log.of(SpeechStarted, SpeechStopped, SpeechDiscarded):
        match event:
            case SpeechStarted(utterance_id=utt, at=at):
                starts[utt] = at
                spans[utt] = (at, log.now_s, False)
            case SpeechStopped(utterance_id=utt, at=at) if utt in starts:
                spans[utt] = (starts[utt], at, False)
            case SpeechDiscarded(utterance_id=utt) if utt in spans:
                spans[utt] = (*spans[utt][:2], True)
    return [spans[utt] for utt in sorted(spans)]


def replies(log: CallLog) -> list[Reply]:
    """Every reply with its spans; one that never stopped ends with the call."""
    begun: dict[int, float] = {}
    held: dict[int, list[tuple[float, float]]] = {}
    done: dict[int, Reply] = {}
    for at_s, event in log.of(VoiceStarted, VoiceHeld, VoiceResumed, VoiceStopped):
        match event:
            case VoiceStarted(reply_id=reply_id):
                begun[reply_id], held[reply_id] = at_s, []
                done[reply_id] = Reply(reply_id, at_s, log.now_s, "open", "", "", ())
            case VoiceHeld(reply_id=reply_id) if reply_id in begun:
                held[reply_id].append((at_s, log.now_s))
            case VoiceResumed(reply_id=reply_id) if held.get(reply_id):
                held[reply_id][-1] = (held[reply_id][-1][0], at_s)
            case VoiceStopped(reply_id=reply_id, why=why, said=said, heard=heard) if reply_id in begun:
                spans = tuple((a, min(b, at_s)) for a, b in held[reply_id])
                done[reply_id] = Reply(reply_id, begun[reply_id], at_s, why, said, heard, spans)
    return [done[reply_id] for reply_id in sorted(done)]


class _Page:
    """Sizes, and the lanes from top to bottom."""

    def __init__(self, log: CallLog) -> None:
        self.log = log
        self.length_s = max(log.now_s, 1.0)
        # Texts need room, long calls must not become wallpaper.
        self.scale = min(max(90.0, 1000 / self.length_s), 2600 / self.length_s)
        self.width = round(LEFT + RIGHT + self.length_s * self.scale)
        self.latencies = log.of(TurnLatency) if log.timed else []
        self.said = self._agent_texts()
        self.y_caller = TOP + 18
        self.y_text = self.y_caller + WAVE_H + GAP
        self.y_turn = self.y_text + ROW_H * 2 + 8
        self.y_agent = self.y_turn + ROW_H + GAP
        self.y_reply = self.y_agent + WAVE_H + GAP
        self.y_latency = self.y_reply + ROW_H * 2
        self.y_axis = self.y_latency + (ROW_H + GAP if self.latencies else 0)
        self.height = self.y_axis + 34

    def x(self, at_s: float) -> float:
        return LEFT + min(max(at_s, 0.0), self.length_s) * self.scale

    def draw(self, c: Canvas) -> None:
        self._axis(c)
        self._head(c)
        self._caller(c)
        self._transcript(c)
        self._agent(c)
        if self.latencies:
            self._latency(c)

    # ------------------------------------------------------------------------------------------------- the lanes

    def _head(self, c: Canvas) -> None:
        c.text(LEFT, 26, self.log.title or "call", INK, size=15, bold=True)
        closed = [e for _, e in self.log.of(SessionClosed) if isinstance(e, SessionClosed)]
        ended = f", closed: {closed[-1].reason.replace('_', ' ')}" if closed else ""
        c.text(LEFT, 45, f"{self.log.now_s:.1f} s{ended}", FAINT, size=12)
        x = float(self.width - RIGHT)
        legend = [("speech", SPEECH), ("file held", HELD_FILE), ("reply", REPLY), ("reply held", PAUSED)]
        if self.latencies:
            legend += [(f"{name} latency", colour) for name, colour in PARTS]
        for name, colour in reversed(legend):
            x -= 6.2 * len(name)
            c.text(x, TOP + 4, name, FAINT, size=11)
            c.rect(x - 14, TOP - 5, 10, 10, colour, radius=2)
            x -= 26

    def _axis(self, c: Canvas) -> None:
        step = next((s for s in (0.5, 1, 2, 5, 10, 30, 60, 300) if s * self.scale >= 60), 600)
        tick = 0.0
        while tick <= self.length_s + 1e-9:
            c.line((self.x(tick), self.y_caller - 4), (self.x(tick), self.y_axis + 6), GRID)
            c.text(self.x(tick), self.y_axis + 20, f"{tick:g} s", FAINT, size=11, anchor="middle")
            tick += step
        c.line((LEFT, self.y_axis), (self.width - RIGHT, self.y_axis), FAINT)

    def _caller(self, c: Canvas) -> None:
        y = self.y_caller
        for a, b in self.log.held:
            c.rect(self.x(a), y, self.x(b) - self.x(a), WAVE_H, HELD_FILE, tip="file held, silence sent")
        for a, b, discarded in speech_spans(self.log):
            tip = f"speech {a:.2f} to {b:.2f} s" + (", no words" if discarded else "")
            c.rect(
                self.x(a), y, self.x(b) - self.x(a), WAVE_H, SPEECH, opacity=0.5 if discarded else 1, radius=3, tip=tip
            )
        self._wave(c, self.log.sent, y, CALLER)
        self._name(c, "caller", y + WAVE_H / 2, CALLER)
        if self.log.input_end_s is not None:
            x = self.x(self.log.input_end_s)
            c.line((x, y), (x, y + WAVE_H), FAINT, dashed=True)
            c.text(x + 4, y + 11, "file ends", FAINT, size=10)

    def _transcript(self, c: Canvas) -> None:
        self._name(c, "transcript", self.y_text + ROW_H, INK)
        for at_s, event in self.log.of(TranscriptPartial):
            assert isinstance(event, TranscriptPartial)
            c.rect(self.x(at_s) - 1, self.y_text - 8, 2, 5, CALLER, tip=event.text)
        finals = [e for _, e in self.log.of(TranscriptFinal) if isinstance(e, TranscriptFinal) and e.text]
        for i, event in enumerate(finals):
            row = i % 2
            room_end = finals[i + 2].start if i + 2 < len(finals) else self.length_s
            y, x, w = self.y_text + row * (ROW_H + 2), self.x(event.start), self.x(event.end) - self.x(event.start)
            c.rect(x, y, w, ROW_H - 2, CALLER, opacity=0.14, radius=3, tip=f"{event.text} ({event.provider})")
            c.text(x + 5, y + 14, _fit(event.text, self.x(room_end) - x - 10), INK, size=12)
        self._name(c, "turns", self.y_turn + 10, INK)
        for at_s, event in self.log.of(TurnEnded, ProviderChanged):
            x = self.x(at_s)
            if isinstance(event, TurnEnded):
                c.line((x, self.y_turn - 4), (x, self.y_turn + 12), INK, width=1.5)
                grown = f", revision {event.revision}" if event.revision else ""
                c.text(x + 5, self.y_turn + 9, f"turn {event.turn_id}: {event.why}{grown}", INK, size=11)
            elif isinstance(event, ProviderChanged):
                c.line((x, self.y_turn - 4), (x, self.y_turn + 12), CUT, width=1.5)
                c.text(x + 5, self.y_turn + 22, f"{event.stage}: {event.before} to {event.after}", CUT, size=11)

    def _agent(self, c: Canvas) -> None:
        y = self.y_agent
        told = replies(self.log)
        for i, reply in enumerate(told):
            c.rect(self.x(reply.start_s), y, self.x(reply.end_s) - self.x(reply.start_s), WAVE_H, REPLY, radius=3)
            for a, b in reply.held:
                c.rect(self.x(a), y, max(self.x(b) - self.x(a), 2), WAVE_H, PAUSED, opacity=0.55, tip="reply held")
            if reply.why in ("interrupted", "failed"):
                x = self.x(reply.end_s)
                c.line((x, y), (x, y + WAVE_H), CUT, width=2)
                c.text(x + 5, y + 12, reply.why, CUT, size=11, bold=True)
            self._reply_text(c, reply, told[i + 1].start_s if i + 1 < len(told) else self.length_s)
        self._wave(c, self.log.heard, y, AGENT)
        self._name(c, "agent", y + WAVE_H / 2, AGENT)
        self._name(c, "reply", self.y_reply + ROW_H, INK)

    def _reply_text(self, c: Canvas, reply: Reply, until_s: float) -> None:
        x, room = self.x(reply.start_s), self.x(until_s) - self.x(reply.start_s) - 10
        said = reply.said or self.said.get(reply.reply_id, "")
        first, rest = _break(said, room)
        if reply.why == "finished":
            c.text(x + 4, self.y_reply + 13, first, INK, size=12)
            c.text(x + 4, self.y_reply + 29, _fit(rest, room), INK, size=12)
            return
        c.text(x + 4, self.y_reply + 13, _fit(said, room), INK, size=12)
        if reply.why == "interrupted":
            c.text(x + 4, self.y_reply + 31, _fit(f"heard: {reply.heard or 'nothing'}", room), CUT, size=11)

    def _latency(self, c: Canvas) -> None:
        self._name(c, "latency", self.y_latency + 10, INK)
        for at_s, event in self.latencies:
            assert isinstance(event, TurnLatency)
            marks = [event.endpoint, event.stt_final, event.agent_first, event.tts_first]
            start_s, before = at_s - event.total, 0.0
            for (name, colour), mark in zip(PARTS, marks, strict=True):
                if mark is None or mark <= before:
                    continue
                x, w = self.x(start_s + before), (mark - before) * self.scale
                c.rect(x, self.y_latency, w, 14, colour, tip=f"{name}: {(mark - before) * 1000:.0f} ms")
                before = mark
            if event.total > before:
                c.rect(self.x(start_s + before), self.y_latency, (event.total - before) * self.scale, 14, PARTS[-1][1])
            c.text(self.x(at_s) + 5, self.y_latency + 12, f"{event.total * 1000:.0f} ms", INK, size=12, bold=True)

    # ---------------------------------------------------------------------------------------------------- pieces

    def _wave(self, c: Canvas, samples: Samples, y: float, colour: str) -> None:
        middle = y + WAVE_H / 2
        columns = max(2, round(len(samples) / self.log.rate_hz * self.scale / 1.5))
        if len(samples) < columns:
            return
        edges = np.linspace(0, len(samples), columns + 1).astype(int)[:-1]
        high = np.maximum.reduceat(samples.astype(np.int32), edges)
        low = np.minimum.reduceat(samples.astype(np.int32), edges)
        loudest = max(int(np.abs(samples.astype(np.int32)).max()), 2000)  # silence stays a line
        half = WAVE_H / 2 - 3
        xs = [self.x(e / self.log.rate_hz) for e in edges]
        top = [(x, middle - half * int(v) / loudest - 0.5) for x, v in zip(xs, high, strict=True)]
        bottom = [(x, middle - half * int(v) / loudest + 0.5) for x, v in zip(xs, low, strict=True)]
        c.polygon([*top, *reversed(bottom)], colour)

    def _name(self, c: Canvas, name: str, y: float, colour: str) -> None:
        c.text(LEFT - 14, y + 4, name, colour, size=12, bold=True, anchor="end")

    def _agent_texts(self) -> dict[int, str]:
        texts: dict[int, str] = {}
        for _, event in self.log.of(AgentText):
            assert isinstance(event, AgentText)
            texts[event.reply_id] = texts.get(event.reply_id, "") + event.delta
        return texts


def _break(text: str, room: float, size: float = 12) -> tuple[str, str]:
    """`text` as a first line that fits and the rest."""
    letters = int(room / (size * 0.54))
    if len(text) <= letters:
        return text, ""
    cut = text.rfind(" ", 0, letters + 1)
    return (text[:cut], text[cut + 1 :]) if cut > 0 else (_fit(text, room, size), "")


def _fit(text: str, room: float, size: float = 12) -> str:
    """`text` cut to `room` pixels, by the mean width of a letter."""
    letters = int(room / (size * 0.54))
    return text if len(text) <= letters else (text[: max(letters - 1, 0)].rstrip() + "…" if letters > 2 else "")

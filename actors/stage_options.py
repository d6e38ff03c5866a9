"""Options that change in mid-call: told to the streams that are open, and brought by those that are opened later.

    changes.change("language", "de", slots) -> ("ears",)       providers that go on as they were

A provider is told only what its type has an option for, and a language only where it is one of its own; whatever a
stream refuses all the same it says with `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from actors.catalog import catalog
from actors.providers.interface import Capabilities
from actors.stage_slot import StageSlot
from router.errors import ConfigError
from router.plan import Candidate

__all__ = ["StageOptions"]


class StageOptions:
    """Of one session."""

    def __init__(self, capabilities: Callable[[Candidate], Capabilities]) -> None:
        self._capabilities = capabilities
        self._changed: dict[str, Any] = {}

    def change(self, name: str, value: Any, slots: Iterable[StageSlot]) -> tuple[str, ...]:
        """From now on `name` is `value`; names of the providers that stay as they were."""
        self._changed[name] = value
        staying = []
        for slot in slots:
            if self._takes(slot.candidate, name, value):
                slot.update({name: value})
            elif slot.stage != "agent":  # an agent without the option answers in the language it is asked in
                staying.append(slot.provider)
        return tuple(staying)

    def of(self, candidate: Candidate) -> dict[str, Any]:
        """What a stream of this candidate is opened with."""
        changed = {name: value for name, value in self._changed.items() if self._takes(candidate, name, value)}
        return {**candidate.options, **changed}

    def _takes(self, candidate: Candidate, name: str, value: Any) -> bool:
        try:
            kind = catalog(candidate.type)
        except ConfigError:  # its own trouble is told where it is opened
            return False
        if kind is None or name not in kind.per_stream_options:
            return False
        known = self._capabilities(candidate).languages
        return name != "language" or not known or any(_is_of(str(value), one) for one in known)


def _is_of(language: str, known: str) -> bool:
    """BCP 47: `en-GB` is of `en`, and `en` of `en-US`, in whose voice it is then spoken; `eng` is of neither."""
    tag, other = language.lower().replace("_", "-"), known.lower().replace("_", "-")
    return tag == other or tag.startswith(f"{other}-") or other.startswith(f"{tag}-")

"""Text for Gemini's Live model: history, what was typed, and what it shall say.

    text.inject("user", "good morning")         kept
    text.settled()                              messages that must go before audio: the history
    text.asked()                                messages that have the model answer, or say, what was injected last

The second generation takes turns at any time, and answers when they are said to be complete. The third takes them as
history before the first audio alone, and answers none of them; then text is given as if the caller had typed it, so
that what is injected waits for the next question.

Source   issues livekit#5251, pipecat (`gemini_live/llm.py`): the second generation wants a turn of the caller last.
"""

from __future__ import annotations

from typing import Any, Literal

from actors.providers import gemini_live_wire as wire

__all__ = ["LiveText"]


class LiveText:
    """Of one conversation. Pure: what it answers is to be sent, in order."""

    def __init__(self, *, only_history: bool, is_begun: bool) -> None:
        self.is_begun = is_begun
        """The vendor was given something as it happened: what comes now is no history."""
        self._only_history = only_history
        self._say: str | None = None
        """A text of the agent: said before, or to be spoken."""
        self._turns: list[dict[str, Any]] = []

    @property
    def is_to_be_spoken(self) -> bool:
        return self._say is not None

    def inject(self, role: Literal["user", "agent", "system"], text: str) -> None:
        self._settle()
        if role == "agent":
            self._say = text
        elif text:
            self._turns.append(wire.turn("user", text if role == "user" else f"(The caller did not say this: {text})"))

    def settled(self) -> list[str]:
        """Something else comes: a text of the agent's was said before, and history goes first."""
        self._settle()
        return [] if self._only_history and self.is_begun else self._told(complete=False)

    def begins(self) -> list[str]:
        """The caller speaks."""
        messages = self.settled()
        self.is_begun = True
        return messages

    def asked(self) -> list[str]:
        text, self._say = self._say, None
        if not self._only_history:
            if text is not None:
                self._turns.append(wire.turn("user", wire.verbatim(text)))
            return self._told(complete=True)
        messages = [] if self.is_begun else self._told(complete=False)
        typed = [_as_typed(turn) for turn in self._turns]
        self._turns.clear()
        self.is_begun = True
        said = [] if text is None else [wire.verbatim(text)]
        return [*messages, wire.realtime(text="\n\n".join([*typed, *said]) or " ")]

    def _settle(self) -> None:
        text, self._say = self._say, None
        if text:
            self._turns.append(wire.turn("model", text))

    def _told(self, *, complete: bool) -> list[str]:
        turns, self._turns = self._turns, []
        if not turns:
            return [wire.client_content(turns, complete)] if complete else []
        if self._only_history:
            return [wire.client_content(turns, True)]  # the end of the history
        if turns[-1]["role"] != "user":
            turns.append(wire.turn("user", " "))
        return [wire.client_content(turns, complete)]


def _as_typed(turn: dict[str, Any]) -> str:
    text = str(turn["parts"][0]["text"])
    return text if turn["role"] == "user" else f"(You said: {text})"

"""A fake agent: answers from a list, word by word, when its handle lets it.

`handle.answer("Hello there.", ToolCall(...), [TextDelta(...), Action(...)])`: a text is spoken in words, an event or a
list of events is sent as it is (turn and revision are those of the request where the event has them), then it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from annotated_types import Ge

from actors.providers import options as stream_options
from actors.providers.fake_handle import Delay, FakeOptions, FakeProvider, FakeStream
from actors.providers.interface import (
    Action,
    AgentCapabilities,
    AgentDone,
    Cause,
    Emit,
    Item,
    ProviderEvent,
    StreamSpec,
    TextDelta,
    Tool,
    ToolCall,
)
from actors.secrets import Secret

__all__ = ["FakeAgent", "Provider"]


class FakeAgentOptions(FakeOptions):
    says: tuple[str, ...] = ("I heard you.",)
    """Replies, round and round."""
    word_delay_s: Delay = 0.0
    """Between the words of a reply."""
    hang_up_after: Annotated[int, Ge(1)] | None = None
    """Hang up with the so-manieth reply."""
    instructions: str | None = None
    streams_per_actor: Annotated[int, Ge(1)] = 1000


class FakeAgentStream(FakeStream):
    options: FakeAgentOptions

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None:
        self.note("reply", turn, revision, tuple(history), tuple(tools), cause)
        self.step(lambda: self._answer(turn, revision), key=turn, delay_s=self.options.answer_delay_s, request=True)

    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        self.note("tool_result", turn, id, result, ok)

    def cancel(self, turn: int) -> None:
        self.note("cancel", turn)
        self.forget(turn)

    def _answer(self, turn: int, revision: int) -> None:
        """Plan the events of one reply as steps behind this one."""
        why = "complete"
        for number, event in enumerate(self._events(turn, revision)):
            if isinstance(event, ToolCall):
                why = "tools"
            delay_s = self.options.word_delay_s if number else 0.0
            self.step(partial(self.say, event), key=turn, delay_s=delay_s)
        done = AgentDone(turn=turn, revision=revision, why=why)  # type: ignore[arg-type]  # one of its two literals
        self.step(lambda: self.say(done), key=turn)

    def _events(self, turn: int, revision: int) -> list[ProviderEvent]:
        self.handle.rounds += 1
        says = self.options.says
        answer: Any = says[(self.handle.rounds - 1) % len(says)] if says else ""
        if self.handle.answers:
            answer = self.handle.answers.popleft()
        events: list[ProviderEvent] = []
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, str):
                events += [TextDelta(turn=turn, revision=revision, delta=word) for word in _words(part)]
            else:
                fields = {"turn": turn, "revision": revision}
                events.append(
                    msgspec.structs.replace(part, **{k: v for k, v in fields.items() if k in part.__struct_fields__})
                )
        if self.options.hang_up_after == self.handle.rounds:
            events.append(Action(turn=turn, name="hang_up"))
        return events


class FakeAgent(FakeProvider):
    Options = FakeAgentOptions
    TYPE = "fake-agent"
    options: FakeAgentOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> AgentCapabilities:
        known = stream_options.parse(FakeAgentOptions, cls.TYPE, options)
        return AgentCapabilities(streams_per_actor=known.streams_per_actor, max_stream_s=known.max_stream_s, tools=True)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        super().__init__(stream_options.parse(FakeAgentOptions, self.TYPE, options))
        self._given = dict(options)

    async def open(self, spec: StreamSpec, emit: Emit) -> FakeAgentStream:
        options = stream_options.parse(FakeAgentOptions, self.TYPE, self._given, spec.options)
        await self.opening(spec, options)
        stream = FakeAgentStream(self.handle, options, spec, emit)
        self.opened(stream)
        return stream


def _words(text: str) -> list[str]:
    """Deltas that give the text again when joined."""
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:] if text else []


Provider = FakeAgent

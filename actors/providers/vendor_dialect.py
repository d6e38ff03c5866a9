"""What differs between streaming recognisers, and what can be set: the other half of `vendor_stt.SttLine`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from actors.providers import options as stream_options
from actors.providers.vendor_socket import Message, SocketRequest

if TYPE_CHECKING:
    from actors.providers.vendor_stt import SttLine

__all__ = ["Dialect", "SttSettings", "Updated", "changed_options"]

O = TypeVar("O", bound=BaseModel)  # noqa: E741


@dataclass(frozen=True, slots=True, kw_only=True)
class SttSettings:
    chunk_ms: int = 50
    """Audio of one message: each costs some 50 us on either side, and waits so long for its end."""
    chunk_min_ms: int = 0
    """A message that would be shorter, at a pause or an end, is filled up with silence."""
    keepalive_s: float | None = 4.0
    """Nothing sent for so long: `Dialect.keepalive`. None: never."""
    silence_ms: int = 100
    """Sent in place of a keep-alive that the vendor does not have, or does not count before the first audio."""
    finalize_s: float = 0.9
    """Below the capability's `final_p99_s`."""
    near_s: float = 0.0
    """A final that ends no longer than this before the end of speech has all of it: a VAD goes on for a while after the
    last word, and some vendors say nothing of the silence there."""
    stall_s: float = 5.0
    answers: Literal["speech", "finalize"] = "speech"
    """What the vendor must say something to: speech as it goes, or only that it was asked to finalize."""
    waits: bool = False
    """After a `finalize` the vendor takes no audio until it has answered: `SttLine.go_on` says so."""
    before_s: float | None = None
    """Only speech is sent, from so long before it to its `finalize`: for vendors that bill silence or hear words in it.
    None: all audio."""
    replay_rate: float = 1.25
    """Times real time."""
    kept_s: float = 15.0
    """Audio without a final that is kept."""
    billed: Literal["audio", "connection"] = "audio"
    """What the vendor counts: audio that was sent, or how long a connection was open. It goes into `Usage`."""
    bye_always: bool = False
    """`Dialect.bye` is said to every connection that is given up, though nobody waits for what it brings: for vendors
    who keep a session, and bill it, until they are told."""
    age_max_s: float | None = None
    """A connection is replaced before it is so old, 5 to 20 % earlier."""
    grace_s: float = 10.0
    """So long a planned replacement waits for a quiet moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What a dialect makes of changed options."""

    refused: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    """For the connection that is open."""
    reconnect: bool = False
    """They are options of the connection."""


def changed_options(
    options: O, changes: Mapping[str, Any], fixed: Collection[str]
) -> tuple[O, set[str], tuple[str, ...]]:
    """(options with what holds, names that have another value now, names refused). `fixed`: set when a stream opens."""
    takes = {name: value for name, value in changes.items() if name not in fixed}
    after, refused = stream_options.changed(options, takes)
    refused += tuple(name for name in changes if name in fixed)
    return after, {n for n in takes if n not in refused and getattr(options, n) != getattr(after, n)}, refused


class Dialect(Protocol):
    """What one vendor speaks, for one stream. Nothing in it waits."""

    def request(self) -> SocketRequest: ...
    def hello(self) -> Sequence[Message]:
        """First messages of a connection."""
        ...

    def audio(self, pcm: bytes) -> Message: ...
    def finalize(self) -> Sequence[Message]: ...
    def keepalive(self) -> Message | None:
        """None: silence is sent instead."""
        ...

    def bye(self) -> Sequence[Message]:
        """No more audio; the vendor sends its last finals and closes."""
        ...

    def update(self, changes: Mapping[str, Any]) -> Updated: ...
    def take(self, line: SttLine, message: Message) -> None:
        """A message of the vendor, told to `line` as facts. Raises ProviderError for garbage."""
        ...

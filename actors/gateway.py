"""What a gateway sends in one tick: frames of many calls at once, one block for each link that they share.

    failed = send_many(calls, frames)                    # frames[i] of calls[i]; never waits, sends nothing twice
    for row, error in failed: drop(calls[row], error)    # the others have been sent

It does what `await call.send(frame)` for each of them in turn would do, to the byte and in the same order. A call that
is *in step* (nothing of it waits, its frame is whole, the host has room) costs a few operations; every other one takes
the ordinary way, and what it may send now rides in the same block.

A gateway collects what is due in a tick (5 ms is a good one: fewer wake-ups, and no frame waits longer), then calls
this once. Calls may lie on several hosts, links and clients, all of the running loop. Where the same calls leave with
the same tick for long, `cohort.Cohort` does it for a fraction of the price.

Units    a frame: 20 ms in the call's own format; any other length is taken too, the ordinary way.
Raises   ValueError where there are not as many frames as calls: nothing was sent. What is wrong with one call is told
         for that call: SessionGone, the error that ended it, or AudioError (no bytes, or a call that is not live).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.link_codec import ROW_BYTES
from actors.outbox import Frame
from router.errors import PatchbayError

if TYPE_CHECKING:
    from actors.call import Call
    from actors.client import HostLink

__all__ = ["send_block", "send_many"]


def send_many(calls: Sequence[Call], frames: Sequence[bytes]) -> list[tuple[int, PatchbayError]]:
    """Live audio of many calls, sent at once. Returns (row, error) of each call that took nothing; see the module."""
    if len(calls) != len(frames):
        raise ValueError(f"{len(calls)} calls and {len(frames)} frames")
    failed: list[tuple[int, PatchbayError]] = []
    blocks: dict[HostLink, tuple[list[int], list[Frame]]] = {}
    last: HostLink | None = None
    try:
        for row, (call, pcm) in enumerate(zip(calls, frames, strict=True)):
            frame = None if call.is_over else call.outbox.step(pcm)
            if frame is None:
                try:
                    due = call.offer(pcm)
                except PatchbayError as error:
                    failed.append((row, error))
                    continue
            if call.way is None:
                continue  # kept until the call is attached again
            link, stream = call.way
            if link is not last:
                streams, rows = blocks.setdefault(link, ([], []))
                last = link
            if frame is not None:
                streams.append(stream)
                rows.append(frame)
            else:
                streams += [stream] * len(due)
                rows += due
    finally:  # what was numbered leaves, whatever the rest of the list is
        for link, (streams, rows) in blocks.items():
            if rows:
                _send(link, streams, rows)
    return failed


def _send(link: HostLink, streams: list[int], frames: list[Frame]) -> None:
    pcms = [frame.pcm for frame in frames]
    numbers = array("I", streams)
    numbers.extend([0] * len(frames))  # one epoch: a call that comes back has another stream
    numbers.extend([frame.seq for frame in frames])
    numbers.extend([frame.pos for frame in frames])
    numbers.extend(map(len, pcms))
    send_block(link, np.array(numbers, dtype="<u4").reshape(5, -1), pcms)


def send_block(link: HostLink, columns: np.ndarray[Any, Any], pcms: list[bytes]) -> None:
    """As one block; as two halves where the host takes no message so long. Columns: see `Link.send_audio_block`."""
    count, pcm = len(pcms), b"".join(pcms)
    if count > 1 and count * ROW_BYTES + len(pcm) > link.block_bytes:
        send_block(link, columns[:, : count // 2], pcms[: count // 2])
        send_block(link, columns[:, count // 2 :], pcms[count // 2 :])
        return
    link.send_audio_block(columns, pcm)

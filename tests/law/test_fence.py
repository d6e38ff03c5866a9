"""Late events of what was cancelled are known by their number."""

import pytest

from actors import wire
from actors.fence import Fence
from actors.providers.interface import (
    AgentDone,
    Cancelled,
    Done,
    OutputText,
    Ready,
    ResponseDone,
    TextDelta,
    ToolCall,
    TtsAudio,
)  # fmt: skip

ASK = {"history": (), "cause": "user"}
ASKED_AGAIN = [
    wire.AgentReply(turn=4, revision=0, **ASK), wire.AgentCancel(turn=4), wire.AgentReply(turn=4, revision=1, **ASK),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ops", "event", "stale"),
    [
        pytest.param([], TtsAudio(reply=1, pos=0, pcm=b""), False, id="nothing was cancelled"),
        pytest.param([wire.TtsCancel(reply=1)], TtsAudio(reply=1, pos=0, pcm=b""), True, id="audio after a cancel"),
        pytest.param([wire.TtsCancel(reply=1)], Done(reply=1), True, id="done after a cancel"),
        pytest.param([wire.TtsCancel(reply=1)], Cancelled(reply=1), False, id="the answer to the cancel"),
        pytest.param([wire.TtsCancel(reply=1)], TtsAudio(reply=2, pos=0, pcm=b""), False, id="the next reply"),
        pytest.param([wire.S2sCancel(response=3)], OutputText(response=3, delta="x"), True, id="text of a response"),
        pytest.param([wire.S2sCancel(response=3)], ResponseDone(response=3), False, id="the end of a response"),
        pytest.param([wire.AgentCancel(turn=4)], TextDelta(turn=4, revision=0, delta="x"), True, id="agent text"),
        pytest.param([wire.AgentCancel(turn=4)], ToolCall(turn=4, id="a", name="b", args={}), True, id="a tool call"),
        pytest.param(
            ASKED_AGAIN,
            TextDelta(turn=4, revision=1, delta="x"), False, id="the turn grew and was asked again",
        ),
        pytest.param(
            ASKED_AGAIN,
            AgentDone(turn=4, revision=0), True, id="an older revision of it",
        ),
        pytest.param([wire.TtsCancel(reply=1)], Ready(), False, id="an event without a number"),
    ],
)  # fmt: skip
def test_stale(ops, event, stale):
    fence = Fence()
    for op in ops:
        fence.note(op)
    assert fence.stale(event) is stale


def test_it_remembers_the_last_ones_only():
    fence = Fence()
    for reply in range(1000):
        fence.note(wire.TtsCancel(reply=reply))
        fence.note(wire.AgentReply(turn=5000 + reply, revision=1, **ASK))
    assert fence.stale_audio(999)
    assert not fence.stale_audio(1)
    assert len(fence._cancelled) <= 64
    assert len(fence._revision) <= 64

"""The demo's callers are heard word for word, live: voice detection, pocketsphinx, `finalize` at each pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.providers.pocketsphinx_stt import Provider
from tests.call.ears import RATE_HZ, Heard, listen, spec, wav
from tests.simulation import simulate

SPEECH = Path(__file__).resolve().parents[2] / "examples" / "speech"
INDEX: dict[str, Any] = yaml.safe_load((SPEECH / "index.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider({"decoders": 1})


def test_every_file_is_in_the_index():
    assert {call["file"] for call in INDEX["calls"]} == {path.name for path in SPEECH.glob("*.wav")}
    assert INDEX["rate_hz"] == RATE_HZ


@pytest.mark.parametrize("shift", [pytest.param(0, id="as it is"), pytest.param(160, id="half a frame later")])
@pytest.mark.parametrize("call", INDEX["calls"], ids=lambda call: call["file"])
def test_the_live_transcript_of_each_turn_is_exact(provider, call, shift):
    """Where the frames happen to begin makes no difference: a caller's audio may be cut anywhere."""
    recorded = wav(SPEECH / call["file"])
    assert len(recorded) / 2 / RATE_HZ == pytest.approx(call["seconds"], abs=0.01)
    pcm = bytes(2 * shift) + recorded

    async def run() -> Heard:
        heard = Heard()
        stream = await provider.open(spec(), heard.events.append)
        await listen(stream, pcm)
        await stream.close(drain=False)
        return heard

    finals = [f for f in simulate(run()).finals if f.text]
    for turn in call["turns"]:
        begin, end = (turn["start_s"] - 0.5) * RATE_HZ, (turn["end_s"] + 0.5) * RATE_HZ
        assert " ".join(f.text for f in finals if begin <= f.words[0].from_pos <= end) == turn["text"]
    assert " ".join(f.text for f in finals) == " ".join(turn["text"] for turn in call["turns"])

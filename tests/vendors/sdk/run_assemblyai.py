"""assemblyai SDK: one streaming session. Arguments: address. Audio (16-bit, 16 kHz) on standard input."""

import json
import os
import sys
import time

from assemblyai.streaming.v3 import (
    RealTimeEvents,
    RealTimeParameters,
    RealTimeSessionParameters,
    RealTimeTranscriber,
    RealTimeTranscriberOptions,
)


def main(url: str, pcm: bytes) -> dict[str, object]:
    # It validates every message against its models; one of a type that it does not know it leaves out.
    options = RealTimeTranscriberOptions(api_host=url, api_key=os.environ["VENDOR_KEY"], terminate_timeout=10.0)
    client = RealTimeTranscriber(options)
    told: dict[str, list] = {"said": [], "formatted": [], "partials": [], "errors": [], "kinds": [], "timed": []}

    def heard(_: RealTimeTranscriber, turn) -> None:
        told["kinds"].append("Turn")
        if not turn.end_of_turn:
            told["partials"].append(turn.transcript)
        elif turn.turn_is_formatted:
            told["formatted"].append(turn.transcript)
        else:
            told["said"].append(turn.transcript)
            told["timed"].append(all(w.start < w.end for w in turn.words))

    client.on(RealTimeEvents.Turn, heard)
    client.on(RealTimeEvents.Error, lambda _, error: told["errors"].append([str(error), error.code]))
    for kind in (RealTimeEvents.Begin, RealTimeEvents.SpeechStarted, RealTimeEvents.Termination):
        client.on(kind, lambda _, event: told["kinds"].append(event.type))
    client.connect(
        RealTimeParameters(
            sample_rate=16000, speech_model="universal-streaming-english", format_turns=True, keyterms_prompt=["clubs"]
        )
    )  # fmt: skip
    if not told["errors"]:
        client.set_params(RealTimeSessionParameters(keyterms_prompt=["hearts"], max_turn_silence=800))
        client.stream(pcm[at : at + 1600] for at in range(0, len(pcm) - 1599, 1600))
        client.keep_alive()
        client.force_endpoint()
        until = time.monotonic() + 10
        while len(told["formatted"]) < 2 and not told["errors"] and time.monotonic() < until:
            time.sleep(0.01)
    client.disconnect(terminate=True)
    return told


print(json.dumps(main(sys.argv[1], sys.stdin.buffer.read())))

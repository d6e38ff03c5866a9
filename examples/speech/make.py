"""Make the callers of the demo: lines spoken by flite, one WAV file per call, with an index of what is said when.

    python examples/speech/make.py            writes the files and index.yaml beside itself; needs Debian's `flite`

The lines were chosen so that the live transcript (webrtc voice detection, pocketsphinx, `finalize` at each pause) is
exact, also when the frames begin 5, 10 or 15 ms later; tests/call/test_ears_speech.py holds them to it. Between two
turns there is time for the agent's reply; in `barge-in.wav` there is only 2.5 s, in which a long reply has begun, and
the caller speaks into it.

Format   WAV, 16-bit mono, 16 kHz: the rate at which flite's voices speak.
Source   flite 2.2 (Carnegie Mellon University, free licence); voices slt, rms, awb and kal16.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
RATE_HZ = 16_000
LEAD_S = 0.3
"""Silence before the first word, which the voice detector's prefix wants."""
REPLY_S = 4.0
"""For the agent's reply between two turns."""
TAIL_S = 0.8
"""Silence behind the last word, so that the pause ends the turn and no `end_input` is needed."""


@dataclass(frozen=True)
class Call:
    file: str
    voice: str
    about: str
    turns: tuple[str, ...]
    gaps_s: tuple[float, ...] = ()
    """Silence before the second turn, the third ...; empty: REPLY_S each."""


CALLS = (
    Call(
        "hours.wav",
        "slt",
        "asks for the opening hours, then hangs up",
        ("what are your opening hours", "thanks a lot goodbye"),
    ),
    Call(
        "order.wav",
        "rms",
        "asks for an order and gives its number",
        ("i want to check my order", "my order number is seven five three", "goodbye"),
    ),
    Call(
        "barge-in.wav",
        "awb",
        "asks for something long, and speaks into the reply",
        ("please tell me about delivery", "no that is enough", "goodbye"),
        (2.5, REPLY_S),
    ),
    Call(
        "weather.wav",
        "kal16",
        "small talk, for a speech-to-speech route",
        ("good morning how are you today", "what is the weather today", "goodbye"),
    ),
    Call("stranger.wav", "kal16", "a caller of no known tenant", ("hello can you hear me", "goodbye")),
    Call(
        "help.wav",
        "slt",
        "needs help; for a route whose first provider is dead",
        ("i need help with my computer", "thanks a lot goodbye"),
    ),
    Call("return.wav", "kal16", "wants to return something", ("i would like to return my order", "thank you goodbye")),
    Call("manager.wav", "rms", "asks for a manager", ("can i speak to a manager", "goodbye")),
)


def speak(text: str, voice: str, folder: Path) -> bytes:
    """The line as pcm16 at RATE_HZ."""
    path = folder / "line.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True, timeout=30)
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            sys.exit(f"flite's voice {voice} speaks at {file.getframerate()} Hz; {RATE_HZ} Hz, mono, is wanted")
        return file.readframes(file.getnframes())


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE_HZ))


def make(call: Call, folder: Path) -> dict[str, object]:
    """Write one file; returns its line of the index."""
    gaps_s = call.gaps_s or (REPLY_S,) * (len(call.turns) - 1)
    pcm, turns = b"", []
    for text, before_s in zip(call.turns, (LEAD_S, *gaps_s), strict=True):
        pcm += silence(before_s)
        start_s = len(pcm) / 2 / RATE_HZ
        pcm += speak(text, call.voice, folder)
        turns.append({"text": text, "start_s": round(start_s, 2), "end_s": round(len(pcm) / 2 / RATE_HZ, 2)})
    pcm += silence(TAIL_S)
    with wave.open(str(HERE / call.file), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm)
    seconds = round(len(pcm) / 2 / RATE_HZ, 2)
    return {"file": call.file, "voice": call.voice, "about": call.about, "seconds": seconds, "turns": turns}


def main() -> None:
    if shutil.which("flite") is None:
        sys.exit("flite is not installed; on Debian: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        index = [make(call, Path(folder)) for call in CALLS]
    head = "# Made by make.py. Texts are what the live transcript of each turn says, exactly; times are of the file.\n"
    text = yaml.safe_dump({"rate_hz": RATE_HZ, "calls": index}, sort_keys=False, width=120)
    (HERE / "index.yaml").write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""WAV files: what is taken becomes mono at a rate of the door; what is not is named."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from cli import audiofile
from cli.calllog import CallLog
from router.errors import AudioError


def put(path: Path, data: bytes, *, channels: int = 1, width: int = 2, rate_hz: int = 16000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(data)
    return path


@pytest.mark.parametrize(
    ("width", "data"),
    [
        (1, bytes([128, 192, 64])),
        (2, np.array([0, 16384, -16384], "<i2").tobytes()),
        (3, b"\0\0\0" + b"\0\0\x40" + b"\0\0\xc0"),
        (4, np.array([0, 1 << 30, -(1 << 30)], "<i4").tobytes()),
    ],
)
def test_any_width_becomes_16_bits(tmp_path: Path, width: int, data: bytes) -> None:
    samples, audio = audiofile.read(put(tmp_path / "a.wav", data, width=width))
    assert samples.tolist() == [0, 16384, -16384]
    assert audio.rate_hz == 16000


def test_channels_are_mixed(tmp_path: Path) -> None:
    data = np.array([[100, 300], [-100, -300]], "<i2").tobytes()
    samples, _ = audiofile.read(put(tmp_path / "a.wav", data, channels=2))
    assert samples.tolist() == [200, -200]


def test_a_rate_that_the_door_does_not_take_becomes_16_khz(tmp_path: Path) -> None:
    tone = (8000 * np.sin(np.arange(22050) * 2 * np.pi * 440 / 22050)).astype("<i2")
    samples, audio = audiofile.read(put(tmp_path / "a.wav", tone.tobytes(), rate_hz=22050))
    assert audio.rate_hz == 16000
    assert len(samples) == pytest.approx(16000, abs=2)
    crossings = int(np.sum(np.diff(np.signbit(samples.astype(int))) != 0))
    assert crossings == pytest.approx(880, abs=3), "still 440 Hz"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.wav", None, "No such file"),
        ("text.wav", b"hello", "linear PCM"),
        ("empty.wav", b"", "linear PCM"),
        ("cut.wav", b"RIFF\x24\x08\x00\x00WAVEfmt ", "linear PCM"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, content: bytes | None, why: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=name) as caught:
        audiofile.read(path)
    assert why in str(caught.value)


def test_a_file_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio"):
        audiofile.read(put(tmp_path / "a.wav", b""))


def test_the_recording_has_what_was_said_left_and_what_was_heard_right(tmp_path: Path) -> None:
    log = CallLog(8000)
    log.frame(b"\1\0" * 160, b"\2\0" * 160, held=False)
    audiofile.write_stereo(tmp_path / "new" / "out.wav", log)
    with wave.open(str(tmp_path / "new" / "out.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 8000, 160)
        both = np.frombuffer(file.readframes(160), "<i2").reshape(-1, 2)
    assert both.tolist() == [[1, 2]] * 160

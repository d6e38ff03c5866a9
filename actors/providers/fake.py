"""The fakes of all stages, for tests, benchmarks and configurations that want a provider to fail.

    from actors.providers.fake import FakeStt
    fake = FakeStt({"says": ["ten of clubs"]}); fake.handle.stall(); ... fake.handle.allow(1)

In YAML they are `fake-vad`, `fake-turn`, `fake-stt`, `fake-agent`, `fake-tts` and `fake-s2s`.
"""

from actors.providers.fake_agent import FakeAgent
from actors.providers.fake_handle import Handle, Received
from actors.providers.fake_s2s import FakeS2s
from actors.providers.fake_stt import FakeStt
from actors.providers.fake_tones import Heard, hear, say
from actors.providers.fake_tts import FakeTts
from actors.providers.fake_turn import FakeTurn
from actors.providers.fake_vad import FakeVad

__all__ = [
    "FakeAgent",
    "FakeS2s",
    "FakeStt",
    "FakeTts",
    "FakeTurn",
    "FakeVad",
    "Handle",
    "Heard",
    "Received",
    "hear",
    "say",
]

"""Calls made up by a seed: speech, operations, stalls, failures and broken links at random instants.

No exact story is expected, only what holds in every call: what `scenario._check` looks at, that the call ends by itself
in bounded time, and that no word of a final is lost or doubled over the turns that were told. Every utterance has words
of its own, so a word that is told twice shows.

A failure prints the seed and the story; `_one(kind, seed)` plays it again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors import events as ev
from actors.providers import interface as pi
from actors.providers.client import Provider as ClientAgent
from actors.providers.fake import FakeAgent, FakeStt, FakeTts
from router.plan import Candidate
from router.settings import BargeIn, SessionSettings, Silence
from tests.call.scenario import Played, models, plan_of, play, providers
from tests.call.tool_double import NEVER_S, FakeTools, calls

RUNS = 50
"""Of each kind; a run takes 20 to 30 ms."""
ENDS_IN_S = 90.0
"""From the last thing that is done to a call: two turns that an application leaves unanswered are 60 s."""
TALE = "This answer goes on for some seconds so that there is time. And then there is a second sentence as well."
SAYS = (TALE, "Yes.", "", "One. Two. Three.")


@dataclass
class _Call:
    """What is done to one call, drawn from its seed."""

    kind: str
    draw: random.Random
    speech: list[tuple[float, float]] = field(default_factory=list)
    acts: list[tuple[float, Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """The acts in words."""
    end_s: float = 0.0

    def act(self, at_s: float, what: str, do: Any) -> None:
        self.acts.append((at_s, do))
        self.told.append(f"{at_s:6.2f} {what}")

    def op(self, at_s: float, op: ev.Op) -> None:
        self.act(at_s, str(op), lambda call, _: call.session.caller_op(op))


def _talk(call: _Call) -> None:
    """One to five stretches of speech, some of them coughs, and then the end."""
    draw, at_s = call.draw, 0.4
    for number in range(draw.randint(1, 5)):
        begin_s = at_s + draw.choice([0.1, 0.3, 0.6, 1.2, 2.5])
        at_s = begin_s + draw.choice([0.06, 0.1, 0.2, 0.4, 0.52, 0.8, 1.5, 3.0])
        call.speech.append((round(begin_s, 2), round(at_s, 2)))
        if call.kind == "s2s":
            call.acts.append((begin_s, _hears(f"m{number}a m{number}b")))
    call.end_s = round(at_s + draw.choice([0.0, 0.1, 0.3, 0.6, 2.0]), 2)
    match draw.choice(["end", "end", "end", "close", "end and close", "end and interrupt"]):
        case "close":
            call.op(call.end_s, ev.CallerClose())
        case "end":
            call.op(call.end_s, ev.EndInput())
        case "end and close":
            call.op(call.end_s, ev.EndInput())
            call.op(call.end_s + draw.choice([0.1, 0.6, 1.0, 4.0]), ev.CallerClose())
        case _:
            call.op(call.end_s, ev.EndInput())
            call.op(call.end_s + 0.7, ev.Interrupt())


def _hears(text: str) -> Any:
    def do(_: Any, given: dict[str, Any]) -> None:
        for name in ("model", "second"):
            for stream in given[name].handle.streams:
                stream.options = stream.options.model_copy(update={"hears": text})

    return do


def _disturb(call: _Call) -> None:
    """Up to six more things at random instants, before the end and shortly after."""
    draw, broken = call.draw, False
    victims = ["model", "second"] if call.kind == "s2s" else ["stt", "tts", "stt2", "tts2"]
    victims += ["agent", "agent2"] if call.kind == "cascade" else []
    for number in range(draw.randint(0, 6)):
        at_s = round(draw.uniform(0.0, call.end_s + 1.0), 2)
        match draw.choice(["say", "say", "pieces", "interrupt", "dtmf", "break", "stall", "fail", "burst", "played"]):
            case "say":
                text, may = draw.choice(["Hi.", TALE]), draw.random() < 0.6
                call.op(at_s, ev.Say(say_id=number + 1, text=text, interruptible=may))
            case "pieces":
                call.op(at_s, ev.Say(say_id=number + 1, text="One two. ", more=True))
                call.op(at_s + 0.3, ev.SayText(say_id=number + 1, text="Three. "))
                call.op(at_s + draw.choice([0.4, 2.0]), ev.SayEnd(say_id=number + 1))
            case "interrupt":
                call.op(at_s, ev.Interrupt())
            case "dtmf":
                call.op(at_s, ev.Dtmf(digits="12"))
            case "break" if not broken:
                broken = True
                call.act(at_s, "the link breaks", lambda c, _: c.session.detach())
                if draw.random() < 0.8:
                    back_s = at_s + draw.choice([0.02, 0.5, 3.0])
                    call.act(back_s, "and is back", lambda c, _: None if c.session.closed else c.session.attach())
            case "stall":
                name = draw.choice(victims)
                call.act(at_s, f"{name} stalls", lambda _, g, n=name: g[n].handle.stall())
                again_s = at_s + draw.choice([0.5, 2.0, 4.0, 12.0])
                call.act(again_s, f"{name} goes on", lambda _, g, n=name: g[n].handle.allow())
            case "fail":
                name = draw.choice(victims)
                call.act(at_s, f"{name} fails", lambda _, g, n=name: g[n].handle.fail("connect"))
            case "burst":
                size = draw.choice([2, 640, 1281, 12_800])
                call.act(at_s, f"{size} bytes at once", lambda c, _, n=size: c.session.caller_audio(bytes(n)))
            case "played":
                call.op(at_s, ev.Played(reply_id=draw.randint(1, 3), ms=draw.choice([0.0, -5.0, float("nan")])))


def _served(call: _Call) -> dict[str, Any]:
    """Who serves it: the `stages` and `given` of `play`, each stage with a second candidate."""
    draw = call.draw
    slow: dict[str, Any] = {"answer_delay_s": draw.choice([0.0, 0.0, 0.2, 0.7, 1.2, 2.5])}
    says = tuple(draw.choice(SAYS) for _ in range(3))
    if call.kind == "s2s":
        vad, speed = draw.choice(["server", "local"]), draw.choice([None, 1.3, 5.0])
        return models(vad=vad, model={"says": says, "speed": speed, **slow}, second={"says": ("Second.",)})
    options: dict[str, dict[str, Any]] = {
        "tts": {"first_audio_s": draw.choice([0.0, 0.0, 0.3, 1.0]), "speed": draw.choice([None, 1.3, 5.0])},
        "agent": {"says": says, "answer_delay_s": draw.choice([0.0, 0.0, 0.3, 1.0, 2.0]),
                  "word_delay_s": draw.choice([0.0, 0.05]), "hang_up_after": draw.choice([None, None, 1, 2])},
    }  # fmt: skip
    heard = {"partial_ms": draw.choice([150, 300, 800]), **slow}
    ears = {name: {**heard, "says": _utterances(draw, mark)} for name, mark in (("stt", "a"), ("stt2", "b"))}
    stages, given = plan_of(SessionSettings()).stages, providers(**options, stt=ears["stt"])
    given |= {"stt2": FakeStt(ears["stt2"]), "tts2": FakeTts(options["tts"]), "agent2": FakeAgent(options["agent"])}
    for stage in ("stt", "tts", "agent"):
        stages[stage] = tuple(
            Candidate(stage=stage, provider=name, type=f"fake-{stage}") for name in (stage, f"{stage}2")
        )
    if call.kind == "client":
        stages["agent"] = (Candidate(stage="agent", provider="client", type="client"),)
        given["client"] = ClientAgent({}, None, None)
    return {"stages": stages, "given": given}


def _utterances(draw: random.Random, mark: str) -> tuple[str, ...]:
    """Texts in which no word comes twice; some are empty."""
    return tuple(" ".join(f"{mark}{n}x{i}" for i in range(draw.choice([0, 1, 2, 4]))) for n in range(40))


def _settings(draw: random.Random) -> SessionSettings:
    return SessionSettings(
        greeting=draw.choice([None, None, "Welcome to us."]),
        greeting_interruptible=draw.random() < 0.5,
        silence=draw.choice([None, Silence(after_s=2.0, prompts=("Still there?",))]),
        barge_in=BargeIn(min_words=draw.choice([0, 1, 2])),
    )


def _equip(call: _Call, served: dict[str, Any]) -> dict[str, Any]:
    """Models that call tools, side by side, in rounds, by ids used twice, and tools of every kind; for `play`."""
    draw = call.draw
    tools = FakeTools(
        idempotent=draw.random() < 0.5, quick=(0.1, "yes"), slow=(draw.choice([1.0, 3.0]), "at last"),
        broken=(0.3, "failed", "no"), mute=(NEVER_S, "never"),
    )  # fmt: skip
    names = ["quick", "quick", "slow", "broken", "mute", "no_such", "hang_up", "set_language", "transfer"]
    for name in ("model", "second", "agent", "agent2"):
        for number in range(10 if name in served["given"] else 0):
            many = draw.choice([0, 1, 1, 2, 3])
            parts: list[Any] = [draw.choice(["One moment.", TALE])] if draw.random() < 0.5 or not many else []
            parts += [
                calls(draw.choice(names), draw.choice([f"c{number}", f"{name}{number}x{n}"]), language="de", to="me")
                for n in range(many)
            ]
            served["given"][name].handle.answer(parts)
    return {"tools": tools, "offers": tools.with_actions()}


def _roll(call: _Call, served: dict[str, Any], draw: random.Random) -> None:
    """Streams that must end, with a warning or none, a vendor that ends them, and voices with a vendor's limits."""
    voice = {"takes": draw.choice(["stream", "sentences"]), "context_idle_s": draw.choice([None, 1.0, 1.0]),
             "text_limit": draw.choice([None, 25, 60])}  # fmt: skip
    for stage, candidates in served["stages"].items():
        options = voice if stage == "tts" else {"resume": draw.random() < 0.5} if stage == "s2s" else {}
        served["stages"][stage] = tuple(replace(c, options={**c.options, **options}) for c in candidates)
    for _ in range(draw.randint(1, 6)):
        name = draw.choice([n for n in served["given"] if n not in ("vad", "turn", "client")])
        at_s, in_s = round(draw.uniform(0.1, call.end_s + 3.0), 2), draw.choice([0.5, 3.0, 8.0, 30.0])
        call.act(at_s, f"{name} must end in {in_s:g} s", _expiring(name, in_s))
        if draw.random() < 0.3:
            call.act(at_s, f"{name} gives a handle", _says(name, pi.Resumable(handle=f"h{at_s}")))


def _says(name: str, event: pi.ProviderEvent) -> Any:
    def do(_: Any, given: dict[str, Any]) -> None:
        for stream in given[name].handle.streams[-1:]:
            stream.say(event)

    return do


def _expiring(name: str, in_s: float) -> Any:
    """The newest stream is told, and ends then as a vendor ends it, if it is still there."""

    def do(_: Any, given: dict[str, Any]) -> None:
        for stream in given[name].handle.streams[-1:]:
            asyncio.get_running_loop().call_later(in_s, stream.fault, "expired", "as it was told")
            stream.say(pi.Expiring(in_s=in_s))

    return do


def _tools_wrong(out: Played, tools: FakeTools) -> str:
    """Every call has a name of its own and one result at most, after it; nothing is run twice unless it may be."""
    open_calls, wrong = set[str](), ""
    begun = Counter(e.call_id for e in out.of("tool.called"))
    wrong += "".join(f"{id} called {n} times " for id, n in begun.items() if n > 1)
    for _, event in out.log:
        if isinstance(event, ev.ToolCalled):
            open_calls.add(event.call_id)
        elif isinstance(event, ev.ToolResult):
            wrong += "" if event.call_id in open_calls else f"{event.call_id} has a result too many "
            open_calls.discard(event.call_id)
    runs = Counter(op.id for op in tools.ops)
    most = 2 if tools.specs[0].idempotent else 1
    return wrong + "".join(f"{id} was run {n} times " for id, n in runs.items() if n > most)


def _words_wrong(call: _Call, out: Played) -> str:
    last = {turn.turn_id: turn.text for turn in out.of("turn.ended")}
    told = Counter(word for text in last.values() for word in text.split())
    finals = Counter(word for final in out.of("transcript.final") for word in final.text.split())
    lost = finals - told if out.closed.reason == "input_ended" else Counter[str]()
    doubled = told - (finals if call.kind == "s2s" else Counter(set(told)))
    return (f"words lost: {dict(lost)} " if lost else "") + (f"words doubled: {dict(doubled)}" if doubled else "")


def _one(kind: str, seed: int, *, tools: bool = False, rolls: bool = False) -> None:
    """Play the call of this seed: its models may call tools, its streams may have to end. Fails with its story."""
    call = _Call(kind, random.Random(f"{kind} {seed}"))
    _talk(call)
    _disturb(call)
    served, settings, reports = _served(call), _settings(call.draw), call.draw.random() < 0.3
    if rolls:
        _roll(call, served, random.Random(f"rolls {kind} {seed}"))
    limit_s = max([call.end_s, *(at_s for at_s, _ in call.acts)]) + ENDS_IN_S
    out = Played()
    equipped = _equip(call, served) if tools else {}
    try:
        play(call.speech, limit_s, settings=settings, acts=call.acts, reports=reports, into=out, **served, **equipped)
        wrong = _words_wrong(call, out) + (_tools_wrong(out, equipped["tools"]) if tools else "")
        if out.closed.t > limit_s - 1.0:
            wrong += f" it did not end in {ENDS_IN_S:g} s"
    except Exception as error:
        wrong = _inmost(error)
    if wrong:
        pytest.fail(_story(call, seed, settings, wrong, out), pytrace=False)


def _inmost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _story(call: _Call, seed: int, settings: SessionSettings, wrong: str, out: Played) -> str:
    events = [f"{at_s:6.2f} {event}"[:240] for at_s, event in out.log if not isinstance(event, ev.VoiceAudio)]
    return "\n".join(
        [f"{call.kind} seed {seed}: {wrong}", f"speech {call.speech}", str(settings), *sorted(call.told), "--", *events]
    )


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("kind", ["cascade", "client", "s2s"])
def test_a_call_made_up_by_a_seed(kind: str, seed: int) -> None:
    _one(kind, seed)


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("kind", ["cascade", "s2s"])
def test_a_call_with_tools_made_up_by_a_seed(kind: str, seed: int) -> None:
    _one(kind, seed, tools=True)


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("kind", ["cascade", "client", "s2s"])
def test_a_call_whose_streams_end_made_up_by_a_seed(kind: str, seed: int) -> None:
    _one(kind, seed, rolls=True)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param("cascade", 119, id="the ear ends while the one beside it waits for its final"),
        pytest.param("client", 382, id="and the audio held back for it waits for ever"),
    ],
)
def test_a_call_whose_streams_end_that_once_went_wrong(kind: str, seed: int) -> None:
    _one(kind, seed, rolls=True)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param("client", 81, id="a final comes while its partial waits behind a reply"),
        pytest.param("client", 377, id="two partials stood in before the finals came"),
        pytest.param("cascade", 1299, id="the final of an earlier utterance comes after a partial stood in"),
        pytest.param("s2s", 672, id="the model answers what was held for"),
        pytest.param("s2s", 1003, id="the model dies before it tells that the speech is over"),
    ],
)
def test_a_call_that_once_went_wrong(kind: str, seed: int) -> None:
    _one(kind, seed)

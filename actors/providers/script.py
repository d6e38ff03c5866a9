"""An agent from a script: rules in order, the first that matches answers.

    greeting: Hello, this is Acme. How can I help?
    rules:
      - keywords: [hours, opening hours]           # any of these words or phrases, whatever their case
        reply: We are open from nine to five.
      - keywords: [order]
        all_of: [status]                           # and all of these
        reply: ["It is on its way.", "Still on its way."]     # in turn, the last again and again
      - regex: "card (?P<number>[0-9]+)"           # anywhere in what was said, in lower case
        reply: "Card {number}, thank you."         # {text} is all that was said
      - dtmf: "1"
        reply: You pressed one.
      - keywords: [goodbye]
        reply: Goodbye.
        hang_up: true
    silence: ["Are you still there?"]
    default: ["I did not catch that.", "Could you say that again?"]

Given as the option `script`: the script itself, or `file:PATH`.

Stateless   which of several replies is next follows from the history that the session brings: how often the rule was
            matched before. So a conversation goes on unchanged when another actor takes it over.
Raises      every problem of a script at once, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from actors.providers import options as stream_options
from actors.providers.interface import (
    Action,
    AgentCapabilities,
    AgentDone,
    Cause,
    Emit,
    Item,
    Options,
    StreamSpec,
    TextDelta,
    Tool,
)
from actors.secrets import Secret
from router.yaml_reader import read

__all__ = ["Provider", "Rule", "Script"]

_TEXT_MAX = 4000
"""Characters of what was said that are looked at: a bound on what a user's regular expression may cost."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _is_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None
    return pattern


def _has_words(phrase: str) -> str:
    if not _words(phrase):
        raise ValueError("a word or phrase is wanted")
    return phrase


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list), MaxLen(100)]
Phrases = Annotated[tuple[Annotated[str, AfterValidator(_has_words)], ...], BeforeValidator(_as_list), MaxLen(100)]


class Rule(BaseModel):
    """One rule; all the conditions it names must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keywords: Phrases = ()
    """Any of these words or phrases."""
    all_of: Phrases = ()
    regex: Annotated[str, AfterValidator(_is_regex)] | None = None
    dtmf: Annotated[str, MinLen(1), MaxLen(32)] | None = None
    """Digits, whole; compared only with the keypad."""
    reply: Texts = ()
    hang_up: bool = False
    transfer: str | None = None
    """Where to; the application does it."""

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if not (self.keywords or self.all_of or self.regex is not None or self.dtmf is not None):
            raise ValueError("a rule needs keywords, all_of, regex or dtmf")
        if self.dtmf is not None and (self.keywords or self.all_of or self.regex is not None):
            raise ValueError("a rule is for the keypad (dtmf) or for words, not for both")
        if not (self.reply or self.hang_up or self.transfer is not None):
            raise ValueError("a rule needs a reply, hang_up or transfer")
        return self

    def match(self, text: str, dtmf: bool) -> dict[str, str] | None:
        """What its reply may be filled in with; None where it does not match."""
        text = text[:_TEXT_MAX]
        if self.dtmf is not None or dtmf:
            return {"text": text} if dtmf and self.dtmf == re.sub(r"\s", "", text) else None
        said = _words(text)
        if self.keywords and not any(_holds(said, phrase) for phrase in self.keywords):
            return None
        if not all(_holds(said, phrase) for phrase in self.all_of):
            return None
        if self.regex is None:
            return {"text": text}
        found = re.search(self.regex, text.lower())
        if found is None:
            return None
        numbered = {str(n): group or "" for n, group in enumerate(found.groups(), 1)}
        return {"text": text, **numbered, **{name: group or "" for name, group in found.groupdict().items()}}


class Script(BaseModel):
    """What a scripted agent says, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    greeting: Texts = ()
    """Said when the session asks for one."""
    rules: Annotated[tuple[Rule, ...], MaxLen(1000)] = ()
    silence: Texts = ()
    """Said when the session reports silence: one after the other."""
    default: Texts = ("I did not catch that.",)
    """Said when no rule matches; an empty list says nothing."""

    @field_validator("rules", mode="before")
    @classmethod
    def _listed(cls, rules: Any) -> Any:
        if not isinstance(rules, (list, tuple)):
            raise ValueError("a list of rules is wanted")
        return rules


def _script(value: Any) -> Any:
    """The option `script` as a Script: a mapping, YAML text, or `file:PATH`."""
    if isinstance(value, str):
        if value.startswith("file:"):
            path = Path(value.removeprefix("file:"))
            try:
                return _from_text(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'this is no UTF-8 text'}") from None
        return _from_text(value, "script")
    return value  # a mapping: pydantic names the path, the router the line


@lru_cache(maxsize=64)
def _from_text(text: str, source: str) -> Script:
    document = read(text, source)
    problems = [str(problem) for problem in document.problems if problem.severity == "error"]
    if problems or document.data is None:
        raise ValueError("; ".join(problems) or f"{source}: the script is empty")
    try:
        return Script.model_validate(document.data)
    except ValidationError as error:
        raise ValueError(
            "; ".join(
                f"{source}:{document.line_of(tuple(found['loc']))}: {_dotted(found['loc'])}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False, include_context=False)
            )
        ) from None


class ScriptOptions(Options):
    script: Annotated[Script, BeforeValidator(_script)] = Field(default_factory=Script)


class _Stream:
    def __init__(self, options: ScriptOptions, emit: Emit) -> None:
        self._options, self._emit, self._closed = options, emit, False

    def reply(self, turn: int, revision: int, history: Sequence[Item], tools: Sequence[Tool], cause: Cause) -> None:
        if self._closed:
            return
        text, rule = answer(self._options.script, history, cause)
        if text:
            self._emit(TextDelta(turn=turn, revision=revision, delta=text))
        if rule is not None and rule.transfer is not None:
            self._emit(Action(turn=turn, name="transfer", value=rule.transfer))
        if rule is not None and rule.hang_up:
            self._emit(Action(turn=turn, name="hang_up"))
        self._emit(AgentDone(turn=turn, revision=revision))

    def tool_result(self, turn: int, id: str, result: str, ok: bool) -> None:
        """It calls no tools."""

    def cancel(self, turn: int) -> None:
        """Its reply is complete the moment it is asked for."""

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        self._options, refused = stream_options.changed(self._options, options)
        return refused

    async def close(self, *, drain: bool) -> None:
        self._closed = True


class Provider:
    Options = ScriptOptions

    @classmethod
    def capabilities(cls, options: Mapping[str, Any]) -> AgentCapabilities:
        return AgentCapabilities(streams_per_actor=500, first_text_p99_s=0.2)

    def __init__(self, options: Mapping[str, Any], secret: Secret | None = None, endpoint: str | None = None) -> None:
        self._given = dict(options)
        self._options = stream_options.parse(ScriptOptions, "script", self._given)

    async def warm(self) -> None:
        pass

    async def probe(self) -> None:
        pass

    async def open(self, spec: StreamSpec, emit: Emit) -> _Stream:
        changes = {name: value for name, value in spec.options.items() if self._given.get(name) != value}
        if not changes:
            return _Stream(self._options, emit)
        return _Stream(stream_options.parse(ScriptOptions, "script", self._given, changes), emit)

    async def close(self) -> None:
        pass


def answer(script: Script, history: Sequence[Item], cause: Cause) -> tuple[str, Rule | None]:
    """What the script says now, and the rule that made it; ("", None) for nothing."""
    match cause:
        case "greeting":
            return _in_turn(script.greeting, 0), None
        case "silence":
            return _in_turn(script.silence, _prompts_so_far(script, history)), None
        case "tool":
            return "", None
    said = [item.said for item in history if item.role == "user"]
    if not said:
        return "", None
    rule, filling = _rule_for(script, said[-1], cause == "dtmf")
    before = sum(1 for text in said[:-1] if rule is _rule_for(script, text, _looks_keyed(text))[0])
    if rule is None:
        return _in_turn(script.default, before), None
    return _filled(_in_turn(rule.reply, before), filling), rule


def _rule_for(script: Script, text: str, dtmf: bool) -> tuple[Rule | None, dict[str, str]]:
    for rule in script.rules:
        filling = rule.match(text, dtmf)
        if filling is not None:
            return rule, filling
    return None, {}


def _prompts_so_far(script: Script, history: Sequence[Item]) -> int:
    """Silence prompts since the caller last said something."""
    count = 0
    for item in reversed(history):
        if item.role == "user":
            break
        count += item.role == "agent" and item.said in script.silence
    return count


def _looks_keyed(text: str) -> bool:
    """The history does not say which of the caller's turns were keys; digits alone are."""
    return re.fullmatch(r"[0-9*#A-D\s]+", text) is not None


def _holds(said: tuple[str, ...], phrase: str) -> bool:
    wanted = _words(phrase)
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def _in_turn(texts: Sequence[str], before: int) -> str:
    return texts[min(before, len(texts) - 1)] if texts else ""


def _filled(text: str, filling: Mapping[str, str]) -> str:
    """Plain substitution, once, of the names that are known: what was said is never read as a template."""
    return re.sub(r"\{(\w+)\}", lambda found: filling.get(found.group(1), found.group()), text)


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path) or "script"

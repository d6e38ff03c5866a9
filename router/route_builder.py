"""From a block of `routes:` to a compiled route, with every reason why its parts do not fit each other.

    options of a stream = the provider's own, over them the session's language, voice and instructions, over them `with`

The session's parts become options only of providers that know them. Whether a combination fits is asked of the
types' records (`Kind`): stage, options, languages, rates, what one stage needs of another, secrets for every tenant
that the route may take, data regions within the route's residency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from router import schema
from router.bucket import Salt
from router.catalog import Ability, Kind
from router.errors import ConfigError
from router.fit import Fit, Use
from router.match import AttributeIs, BucketIn, Condition, FeatureIs, FieldIs, Pattern
from router.plan import CASCADE, STAGES, Stage
from router.problem import Path, Problems, nearest
from router.provider_book import ProviderBook
from router.region import fits
from router.settings import SessionSettings
from router.table import SHARED, Choice, ProviderSpec, Route, Slot, Split
from router.tool_book import ToolBook

__all__ = ["Built", "RouteBuilder", "conditions_of"]

_DEFAULT_VAD = "webrtc"
_DEFAULT_TURN = "heuristic"


@dataclass(frozen=True, slots=True)
class Built:
    """A route, and what of it the table's version is the hash of."""

    route: Route
    content: dict[str, Any]
    at: Path


class RouteBuilder:
    """Builds the routes of one file; `session` is the file's own session block."""

    def __init__(self, book: ProviderBook, tools: ToolBook, problems: Problems, session: Mapping[str, Any]) -> None:
        self._book, self._tools, self._problems, self._fit = book, tools, problems, Fit(problems)
        self._session: Mapping[str, Any] = {}
        if self._settings(session, ("session",)) is not None:  # else routes are checked without it
            self._session = book.texts(session, ("session",))

    def build(self, block: schema.Default, at: Path, line: int) -> Built | None:
        """The route in `block`, which stands at `at`; None where its session block does not hold."""
        when = block.when if isinstance(block, schema.Route) else schema.When()
        stages = self._stages(block.use, (*at, "use"))
        settings = self._settings(block.session, (*at, "session"))
        self._bucket(when, (*at, "when", "bucket"))
        if settings is None:
            return None
        slots: list[Slot] = []
        uses: list[Use] = []
        for stage, said, where in stages:
            slot, found = self._slot(stage, said, where, settings, block)
            slots.append(slot)
            uses.extend(found)
            self._covers_regions(slot, when, where)
        self._fit.needs(uses)
        self._fit.asked(uses, block.needs, (*at, "needs"))
        named = frozenset(stage for stage in STAGES if getattr(block.use, stage) is not None)
        self._fit.floor(uses, settings, named, at)
        self._session_is_used(block.session, uses, (*at, "session"))
        tools = self._tools.offered(block.tools, (*at, "tools"))
        self._fit.tools(tools, uses, (*at, "tools"))
        for use in uses:
            self._residency(use, tuple(block.residency))
            self._secret(use, when)
        route = Route(
            name=block.name if isinstance(block, schema.Route) else "default",
            line=line,
            conditions=conditions_of(when),
            slots=tuple(slots),
            settings=settings,
            isolation=block.isolation,
            residency=tuple(block.residency),
            tools=tools,
            max_sessions=block.limits.sessions,
        )
        return Built(route, _content(route, when, sorted(block.needs)), at)

    def _settings(self, own: Mapping[str, Any], at: Path) -> SessionSettings | None:
        """The file's session settings with `own` over them, key by key, at every depth; None where `own` is wrong.

        Only what `own` says is complained of here: the rest has been checked where it stands.
        """
        if schema.checked(SessionSettings, dict(own), at, self._problems) is None:
            return None
        data = _merged(self._session, self._book.texts(own, at))
        whole = schema.checked(SessionSettings, data, at, self._problems)
        if whole is None:
            return None
        if "endpointing" in own and whole.endpointing.min_s > whole.endpointing.max_s:
            self._problems.error(
                (*at, "endpointing"), "min_s is above max_s; the pause that ends any turn is the longer"
            )
        if "vad" in own and whole.vad.start_frames > whole.vad.start_window:
            self._problems.error((*at, "vad"), "start_frames is above start_window; it counts frames within the window")
        for provider in own.get("voices", {}):
            if not self._book.is_known(provider, (*at, "voices", provider)):
                known = nearest(provider, self._book.entries)
                self._problems.error((*at, "voices", provider), f"unknown provider `{provider}`{known}")
        return whole

    def _stages(self, use: schema.Use, at: Path) -> list[tuple[Stage, Any, Path]]:
        """The slots that this route has: stage, what is said, and where."""
        said: dict[Stage, Any] = {stage: getattr(use, stage) for stage in (*CASCADE, "s2s")}
        if said["s2s"] is not None:
            for stage in ("turn", "stt", "agent", "tts"):
                if said[stage] is not None:
                    self._problems.error(
                        (*at, stage), f"a speech-to-speech model does what {stage} does; use either s2s or {stage}"
                    )
            wanted: tuple[Stage, ...] = ("vad", "s2s")
        else:
            for stage in ("stt", "agent", "tts"):
                if said[stage] is None:  # type: ignore[index]
                    self._problems.error((*at, stage), "is missing: a route names s2s, or stt, agent and tts")
            wanted = CASCADE
        usual = {"vad": _DEFAULT_VAD, "turn": _DEFAULT_TURN}
        found = [(stage, said[stage] if said[stage] is not None else usual.get(stage)) for stage in wanted]
        return [(stage, value, (*at, stage)) for stage, value in found if value is not None]

    def _slot(
        self, stage: Stage, said: Any, at: Path, settings: SessionSettings, block: schema.Default
    ) -> tuple[Slot, list[Use]]:
        uses: list[Use] = []

        def choices(items: list[Any], where: Path, indexed: bool = True) -> tuple[Choice, ...]:
            made = []
            for number, item in enumerate(items):
                use = self._use(stage, item, (*where, number) if indexed else where, settings, block)
                if use is not None:
                    uses.append(use)
                    made.append(Choice(use.spec, use.options))
            return tuple(made)

        if isinstance(said, schema.Split):
            if not any(said.split.values()):
                self._problems.error((*at, "split"), "every weight is 0; at least one arm needs a share")
            arms = []
            for name, weight in said.split.items():
                arms += [(choice, weight) for choice in choices([name], (*at, "split", name), indexed=False)]
            then = choices(said.then, (*at, "then"))
            return Slot(stage, then, Split(said.by, said.salt, arms) if arms else None), uses
        if isinstance(said, list):
            return Slot(stage, choices(said, at)), uses
        return Slot(stage, choices([said], at, indexed=False)), uses

    def _use(self, stage: Stage, item: Any, at: Path, settings: SessionSettings, block: schema.Default) -> Use | None:
        name = item.provider if isinstance(item, schema.UseOne) else item
        own = item.with_ if isinstance(item, schema.UseOne) else {}
        found = self._book.resolve(name, stage, (*at, "provider") if isinstance(item, schema.UseOne) else at)
        if found is None:
            return None
        spec, kind = found
        own = self._book.texts(own, (*at, "with"))
        session = self._session_options(spec, kind, settings)
        use = Use(spec, kind, {**spec.options, **session, **own}, at)
        found_wrong = kind.check_options(use.options)
        for problem in found_wrong:
            where = self._where(str(problem.path[0]) if problem.path else "", own, session, use, block)
            self._problems.error((*where, *problem.path), problem.detail)
        if use.options and not found_wrong and kind.with_options is not None:
            try:
                use = replace(use, kind=kind.with_options(use.options))
            except ConfigError as error:
                self._problems.error(use.at, str(error))
        self._fit.fits(use, settings)
        return use

    def _session_options(self, spec: ProviderSpec, kind: Kind, settings: SessionSettings) -> dict[str, Any]:
        given: dict[str, Any] = {"language": settings.language, "voice": settings.voices.get(spec.name)}
        if spec.stage in ("agent", "s2s"):
            given["instructions"] = settings.instructions
        return {k: v for k, v in given.items() if v is not None and k in kind.per_stream_options}

    def _where(
        self, key: str, own: Mapping[str, Any], session: Mapping[str, Any], use: Use, block: schema.Default
    ) -> Path:
        """The block that the option `key` of a stream comes from, or would belong in."""
        if key in own:
            return (*use.at, "with")
        if key in session:
            route: Path = use.at[: use.at.index("use")]
            block_key = "voices" if key == "voice" else key
            return (*route, "session") if block_key in block.session else ("session",)
        if use.spec.name in self._book.entries:
            return ("providers", use.spec.name, "options")
        return use.at

    def _session_is_used(self, own: Mapping[str, Any], uses: list[Use], at: Path) -> None:
        if "instructions" in own and not any(
            "instructions" in u.kind.per_stream_options for u in uses if u.spec.stage in ("agent", "s2s")
        ):
            self._problems.warn((*at, "instructions"), "no agent of this route takes instructions")

    def _residency(self, use: Use, residency: tuple[str, ...]) -> None:
        if not residency:
            return
        spec = use.spec
        regions = [e.data_region or spec.data_region for _, e in spec.endpoints] or [spec.data_region]
        if not any(r is None or fits(r, residency) for r in regions):
            said = ", ".join(sorted({str(r) for r in regions}))
            detail = f"`{spec.name}` keeps data in {said}, and residency asks for {', '.join(residency)}"
            self._problems.error(use.at, detail)
        elif use.kind.needs_secret and None in regions:
            detail = f"`{spec.name}` says no data_region, so nothing holds it to residency {', '.join(residency)}"
            self._problems.warn(use.at, detail)

    def _secret(self, use: Use, when: schema.When) -> None:
        if not use.kind.needs_secret or SHARED in use.spec.secrets:
            return
        if use.spec.name not in self._book.entries:
            self._problems.error(use.at, f"`{use.spec.name}` needs a secret, so an entry in `providers`")
        elif use.spec.secrets:
            lacking = [t for t in when.tenant or ["*"] if t not in use.spec.secrets]
            if lacking:
                who = "every tenant" if lacking[0] == "*" else f"tenant {lacking[0]}"
                detail = f'`{use.spec.name}` has no secret for {who}; give it one, or a shared one ("*")'
                self._problems.error(use.at, detail)

    def _covers_regions(self, slot: Slot, when: schema.When, at: Path) -> None:
        wanted = Pattern(tuple(when.region or ["*"]))

        def serves(choice: Choice) -> bool:
            endpoints = choice.provider.endpoints
            return not endpoints or Pattern(tuple(p for p, _ in endpoints)).covers(wanted)

        arms = [choice for _, choice in slot.split.arms] if slot.split else []
        if (arms or slot.choices) and not (any(map(serves, slot.choices)) or (arms and all(map(serves, arms)))):
            self._problems.warn(at, 'some regions have no endpoint here, and calls from there are refused; add "*"')

    def _bucket(self, when: schema.When, at: Path) -> None:
        if when.bucket is not None and when.bucket.from_ >= when.bucket.below:
            self._problems.error(at, "from is not under below, so nobody is in it; 0 to 100 is everybody")


def conditions_of(when: schema.When) -> tuple[Condition, ...]:
    """The conditions of a `when:` block, cheap ones first: a bucket costs a hash."""
    made: list[Condition] = []
    if when.tenant is not None:
        made.append(FieldIs.of("tenant", tuple(when.tenant)))
    if when.region is not None:
        made.append(FieldIs.of("region", tuple(when.region)))
    made.extend(FeatureIs(name, wanted) for name, wanted in sorted(when.features.items()))
    made.extend(AttributeIs(name, Pattern(tuple(values))) for name, values in sorted(when.attributes.items()))
    if when.session_id is not None:
        made.append(FieldIs.of("session_id", tuple(when.session_id)))
    if when.bucket is not None:
        made.append(BucketIn(when.bucket.by, Salt(when.bucket.salt), when.bucket.from_, when.bucket.below))
    return tuple(made)


def _content(route: Route, when: schema.When, needs: list[Ability]) -> dict[str, Any]:
    slots = {
        slot.stage: {
            "choices": [[c.provider.name, c.options] for c in slot.choices],
            "split": slot.split
            and [slot.split.by, slot.split.salt, [[arm.name, arm.weight, c.options] for arm, c in slot.split.arms]],
        }
        for slot in route.slots
    }
    tools = {"tools": [asdict(tool) for tool in route.tools]} if route.tools else {}
    return {
        **tools,
        "name": route.name,
        "when": when.model_dump(mode="json"),
        "use": slots,
        "session": asdict(route.settings),
        "isolation": route.isolation,
        "residency": route.residency,
        "max_sessions": route.max_sessions,
        "needs": needs,
    }


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, key by key, in nested mappings too."""
    made = dict(under)
    for key, value in over.items():
        below = made.get(key)
        made[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return made

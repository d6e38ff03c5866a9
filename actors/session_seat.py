"""One session's place in a host: between its caller's stream on a link and its stages on other links.

    caller's link ◄──events, audio, credit── Seat ──leases, ports──► provider actors
                                              │
                                         VoiceSession

It is the session's outlet (events and audio to the caller, credit) and its connector (streams of the stages). A caller
whose link broke leaves the seat; events wait, and are told again to whoever comes back with the same token.

Bounds   events kept for replay: `KEPT_ATTACHED` while the caller is here (what may be on its way), `KEPT_DETACHED`
         while it is away; then the session closes, since no event is ever dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from actors import events as ev
from actors import wire
from actors.formats import FRAME_MS, AudioFormat
from actors.link import Link
from actors.logs import get_logger
from actors.ports import LocalPort
from actors.providers.interface import Capabilities, Fault, StreamSpec
from actors.session import VoiceSession
from actors.stage_slot import StageSlot
from router.errors import AudioError, ProviderError
from router.plan import Candidate, Stage

if TYPE_CHECKING:
    from actors.session_host import SessionHost

__all__ = ["CREDIT_FRAMES", "CREDIT_MS", "Seat"]

KEPT_ATTACHED, KEPT_DETACHED = 256, 4096
CREDIT_MS = {"live": 2000.0, "file": 400.0, "lockstep": 20.0}
"""Audio a caller may have on its way: live input beyond 2 s is stale; a file needs the way there and back."""
CREDIT_FRAMES = 10  # credit of a live caller comes back every 200 ms, a tenth of what it has
_ACK_MS = 400
"""Audio that a stage accepts is told so often: a fifth of the 2 s that may be on its way to it."""
_FILE_ACK_MS = 100
"""A file goes as fast as its credit comes back."""
_GAP_MAX_S = 60
"""A hole in the caller's positions moves the media clock no further."""
_GAP_WHOLE_S, _GAP_HEARD_S = 0.5, 0.3
"""A short hole is heard as silence. Of a longer one only so much: speech stops in it, and a host that is behind, whose
callers let go of seconds, does not get further behind by hearing their silence."""
_BAD_AUDIO_MAX = 50
_LIVE_RATE, _LIVE_BURST_S = 1.5, 2.0
"""So much ahead of real time a live caller may be, whatever credit it ignores: clocks drift, a jam ends in a burst."""

log = get_logger("session")
_encode = msgspec.msgpack.Encoder().encode


class Seat:
    """Made by the host when a grant is shown for the first time."""

    def __init__(self, host: SessionHost, grant: wire.Grant, attach: wire.Attach, now_s: float) -> None:
        self.grant, self.token = grant, attach.token
        self.began_s = now_s
        self.audio_in = AudioFormat(attach.encoding, attach.rate_hz)  # type: ignore[arg-type]
        self.format_out = AudioFormat(attach.out_encoding, attach.out_rate_hz)  # type: ignore[arg-type]
        self.next_sample = 0
        self.opened = self.over = False
        lent = host.lanes.ring() if attach.mode == "live" else None
        self.row = 0 if lent is None else lent[0]
        """Its row in the host's table, for life; 0: it has none, and every frame takes the long way."""
        self.ahead_at = 0
        """Position up to which a live caller is surely not ahead of real time."""
        self._host = host
        self._link: Link | None = None
        self._stream = 0
        self.seq = self.credited = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._caps: dict[tuple[Stage, str], Capabilities] = {}
        self._leases = {(lease.stage, lease.candidate): lease for lease in grant.leases}
        self._held: dict[Stage, wire.Lease] = {}
        self._asked: dict[tuple[Stage, int], tuple[StageSlot, Candidate, StreamSpec]] = {}
        self._bad_audio = 0
        self.alarm = host.alarms.take()
        try:
            self.session = VoiceSession(
                grant.session_id, grant.plan, self, self.capabilities, self, host.clock,
                audio_in=self.audio_in, audio_out=self.format_out, mode=attach.mode, trace=grant.trace,
                observer=host.observer, ring=None if lent is None else lent[1], alarm=self.alarm,
                stir=lambda: host.ticks.stir(self),
            )  # fmt: skip
        except BaseException:
            self._give_back_places()
            raise
        self.log = log.bind(
            session=grant.session_id, tenant=grant.plan.tenant_id, region=grant.plan.region, route=grant.plan.route,
            trace=grant.trace,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------ the caller's side

    def sit(self, link: Link, stream: int, attach: wire.Attach) -> None:
        """The caller is here, for the first time or again; whoever sat here before is let go."""
        if self._link is not None and not self._link.closed and (self._link, self._stream) != (link, stream):
            self._host.leave_stream(self._link, self._stream)
            detail = "another connection came with this session's token"
            self._link.send(self._stream, wire.Denied(kind="superseded", detail=detail))
        if self.session.lane is not None:
            self.session.lane.leave()
        self._link, self._stream = link, stream
        self.seq = self.credited = 0
        mode = self.session.mode
        session_id = self.grant.session_id
        link.send(stream, wire.Attached(session_id=session_id, pos=self.next_sample, credit_ms=CREDIT_MS[mode]))
        for n, body in self._kept:
            if n > attach.after_n:
                link.send_encoded(stream, body)

    def fits(self, attach: wire.Attach) -> bool:
        """Whoever comes back brings the formats and the mode it left with: the media clock goes on."""
        now = (attach.encoding, attach.rate_hz, attach.out_encoding, attach.out_rate_hz, attach.mode)
        then = (
            self.audio_in.encoding, self.audio_in.rate_hz, self.format_out.encoding, self.format_out.rate_hz,
            self.session.mode,
        )  # fmt: skip
        return now == then

    def lose(self) -> None:
        """The caller's link is gone."""
        self._link = None
        if not self.over:
            self.session.detach()

    def audio(self, seq: int, pos: int, pcm: bytes) -> None:
        """A frame of the caller, `pos` in samples of its own format."""
        if self.session.lane is not None:
            self.session.lane.leave()
        self.seq = seq + 1
        size = self.audio_in.sample_bytes
        samples = len(pcm) // size
        if pos < self.next_sample:  # told again after a break: taken already
            self.accept()
            return
        if self.session.mode == "live" and self._is_ahead(pos + samples):
            self.next_sample = pos + samples
            self.session.count_dropped("caller", samples * 1000 / self.audio_in.rate_hz, "drop_newest")
            self.accept()
            return
        try:
            if pos > self.next_sample:
                self._fill(pos - self.next_sample)
            self.next_sample = pos + samples
            self.session.caller_audio(pcm)
        except AudioError as error:
            self._refuse_audio(error)

    def _is_ahead(self, end: int) -> bool:
        self.pace()
        return end > self.ahead_at

    def pace(self) -> None:
        """Look anew at how much audio a caller may have sent by now."""
        lived_s = self._host.clock() - self.began_s
        self.ahead_at = int((lived_s * _LIVE_RATE + _LIVE_BURST_S) * self.audio_in.rate_hz)

    def _fill(self, samples: int) -> None:
        """The caller dropped audio on its way: silence keeps the media clock right, and the drop is told."""
        gap_ms = samples * 1000 / self.audio_in.rate_hz
        self.session.count_dropped("caller", gap_ms, "drop_oldest")
        silence = {"pcm16": b"\0\0", "mulaw": b"\xff", "alaw": b"\xd5"}[self.audio_in.encoding]
        rate_hz = self.audio_in.rate_hz
        left = min(samples, _GAP_MAX_S * rate_hz)
        frame = rate_hz * FRAME_MS // 1000
        frames = int(left - _GAP_HEARD_S * rate_hz) // frame if left > _GAP_WHOLE_S * rate_hz else 0
        self.session.caller_audio(silence * (left - frames * frame))
        if frames:
            self.session.pass_over(frames)

    def _refuse_audio(self, error: AudioError) -> None:
        self._bad_audio += 1
        self.session.emit(
            ev.ErrorEvent, stage="caller", provider="", kind="audio", detail=str(error),
            fatal=self._bad_audio >= _BAD_AUDIO_MAX,
        )  # fmt: skip
        if self._bad_audio >= _BAD_AUDIO_MAX:
            self.session.close("error")

    # ------------------------------------------------------------------------------------------ session's outlet

    def event(self, event: ev.Event) -> None:
        body = _encode(event)
        self._kept.append((event.n, body))
        if self._link is not None:
            if len(self._kept) > KEPT_ATTACHED:
                self._kept.popleft()
            self._link.send_encoded(self._stream, body)
        elif len(self._kept) > KEPT_DETACHED and not self.over:
            self.over = True
            self.session.close("lost")
        if type(event) is ev.SessionOpened:
            self.opened = True
            self._host.session_changed(self, "opened")
            self.log.info("session.opened", providers=event.providers)

    def audio_out(self, reply_id: int, pos: int, pcm: bytes) -> None:
        if self._link is not None:
            self._link.send_audio(self._stream, reply_id, 0, pos, pcm)

    def accept(self) -> None:
        if self._link is None or self.seq <= self.credited:
            return
        if self.session.mode == "live" and self.seq - self.credited < CREDIT_FRAMES:
            return
        self.credited = self.seq
        self._link.send_credit(self._stream, self.seq)

    def closed(self, record: dict[str, Any]) -> None:
        self.over = True
        self.log.info("session.closed", reason=record["reason"], duration_s=record["duration_s"])
        self._host.ended(self, record)

    # --------------------------------------------------------------------------------------- session's connector

    def capabilities(self, candidate: Candidate) -> Capabilities:
        key = (candidate.stage, candidate.provider)
        known = self._caps.get(key)
        if known is None:
            known = self._caps[key] = self._host.capabilities(candidate)
        return known

    def outcome(self, slot: StageSlot, fault: Fault | None) -> None:
        lease = self._held.get(slot.stage)
        if lease is None or lease.candidate != slot.index:
            return  # no stream of it was had: the pool knows why
        told = wire.Outcome(
            actor=lease.actor, provider=slot.provider, ok=fault is None, kind=fault.kind if fault else "",
            retry_after_s=fault.retry_after_s if fault else None,
        )  # fmt: skip
        self._host.push(told)

    def request(self, slot: StageSlot, candidate: Candidate, index: int, spec: StreamSpec) -> None:
        stand_in = index >= len(self.grant.plan.stages[slot.stage])
        client = getattr(self.capabilities(candidate), "client", False)
        if stand_in or candidate.placement == "inline" or client:  # nothing that an actor would serve
            self._open_here(slot, candidate, spec)
            return
        lease = self._leases.pop((slot.stage, index), None)
        if lease is not None:
            self._open(slot, candidate, spec, lease)
            return
        self._asked[slot.stage, index] = (slot, candidate, spec)
        given_back = self._held.pop(slot.stage, None)
        ask = wire.LeaseRequest(
            session_id=self.grant.session_id, stage=slot.stage, candidate=index,
            gives_back=given_back.lease_id if given_back is not None else None, want=candidate,
            pool_region=self.grant.plan.pool_region,
        )  # fmt: skip
        if not self._host.push(ask):
            detail = "the router is away and cannot lease a stream"
            self._host.soon(slot.refused, spec.epoch, Fault(kind="connect", detail=detail))

    def _open_here(self, slot: StageSlot, candidate: Candidate, spec: StreamSpec) -> None:
        """In this process: one provider object of the type for all sessions of the host, a stream of it for this."""
        self._give_back(self._held.pop(slot.stage, None))
        try:
            port = LocalPort(
                candidate.provider, self._host.inline(candidate), slot.stage, self._host.number(spec), slot,
                self._host.tasks.group,
            )  # fmt: skip
        except ProviderError as error:
            fault = Fault(kind=error.kind, detail=error.detail, retry_after_s=error.retry_after_s)
            self._host.soon(slot.refused, spec.epoch, fault)
        else:
            slot.take(port, spec.epoch)

    def beside(self, slot: StageSlot, candidate: Candidate, spec: StreamSpec) -> None:
        """On the lease that is held: for the moments of a roll-over a session has two streams on one actor."""
        lease = self._held.get(slot.stage)
        if lease is None or lease.candidate != slot.index:
            detail = "no stream is leased that a second could stand beside"
            self._host.soon(slot.refused, spec.epoch, Fault(kind="busy", detail=detail))
            return
        self._open(slot, candidate, spec, lease)

    def _open(self, slot: StageSlot, candidate: Candidate, spec: StreamSpec, lease: wire.Lease) -> None:
        self._held[slot.stage] = lease
        ack_ms = {"lockstep": 0, "live": _ACK_MS}.get(self.session.mode, _FILE_ACK_MS)
        port = self._host.links.open(lease, spec, slot, provider=candidate.provider, ack_ms=ack_ms)
        slot.take(port, spec.epoch)

    def leased(self, answer: wire.LeaseAnswer) -> None:
        """The router's answer to `LeaseRequest`."""
        asked = self._asked.pop((answer.stage, answer.candidate), None)
        if asked is None or self.over:
            self._give_back(answer.lease)
            return
        slot, candidate, spec = asked
        if answer.lease is None:
            slot.refused(spec.epoch, Fault(kind="busy", detail=answer.detail, retry_after_s=answer.retry_after_s))
        elif slot.epoch == spec.epoch:
            self._open(slot, candidate, spec, answer.lease)
        else:
            self._give_back(answer.lease)

    def _give_back(self, lease: wire.Lease | None) -> None:
        if lease is not None:
            self._host.push(wire.LeaseReturn(session_id=self.grant.session_id, lease_id=lease.lease_id))

    def give_back_row(self) -> None:
        """The session is over, or was not seated: another may have its places in the host's tables."""
        if self.session.lane is not None:
            self.session.lane.leave()
        self._give_back_places()

    def _give_back_places(self) -> None:
        self._host.alarms.give_back(self.alarm)
        if self.row:
            self._host.lanes.free(self.row)
            self.row = 0

    def give_back_unused(self) -> None:
        """Leases of stages that this session does not open: a model with its own VAD needs none of ours."""
        for stage, index in list(self._leases):
            if stage not in self.session.slots:
                self._give_back(self._leases.pop((stage, index)))

    @property
    def leases(self) -> tuple[wire.Lease, ...]:
        return (*self._held.values(), *self._leases.values())

"""A session's ear at a vendor that takes whole utterances, a request for each: what is the same for all such vendors.

    session ──audio──► ledger ──speech_start .. finalize──► job ──► vendor
            ◄─finals── settling ◄────────── text ───────────┘

What differs is a `Transcriber`: it sends the audio of a job, writes what comes of it into the job, and takes changed
options for the jobs to come.

Order     jobs run side by side and are told in the order of the speech.
Finalize  answered in `finalize_s`, by the vendor or by us with what it has written until then; a text that comes later
          tells only what is new of it (`vendor_settling.py`). Nothing was said since the one before: answered at once.
Long      speech of more than `utterance_s` goes in pieces: a vendor bounds an upload, and we the memory.
Failing   a job that meets no connection or an overload is asked once more. Else, and then: `Fault`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.providers.interface import (
    Emit,
    Finalized,
    Partial,
    ProviderEvent,
    StreamSpec,
    TimedWord,
    Usage,
)
from actors.providers.vendor_counts import VendorCounts
from actors.providers.vendor_faults import Vendor, fault_of
from actors.providers.vendor_ledger import Ledger
from actors.providers.vendor_settling import Ask, Settling
from actors.task_home import TaskHome
from router.errors import FaultKind, ProviderError

__all__ = ["Job", "Transcriber", "UtteranceLine", "UtteranceSettings"]

_JOBS_MAX = 8
"""Utterances on their way; more is a vendor that does not keep up."""
_AT_ONCE = 4
_PASSING: frozenset[FaultKind] = frozenset({"connect", "overload"})
_DRAIN_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceSettings:
    finalize_s: float = 3.0
    """Below the capability's `final_p99_s`."""
    stall_s: float = 10.0
    """A request that has said nothing for so long, or no more."""
    before_s: float = 0.3
    """Sent before the speech that the session heard."""
    utterance_s: float = 60.0


class Job:
    """Some speech on its way to be text."""

    def __init__(self, line: UtteranceLine, utt: int, begin: int, end: int, pcm: bytes) -> None:
        self.utt, self.begin, self.end, self.pcm = utt, begin, end, pcm
        self.text = ""
        """What the vendor has written so far; in the end, all of it."""
        self.words: Sequence[TimedWord] | None = None
        self.language: str | None = None
        self.is_begun = self.is_done = False
        self.due: asyncio.TimerHandle | None = None
        self.limit: asyncio.Timeout | None = None
        self._line = line

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self._line.spec.rate_hz

    def alive(self) -> None:
        """The vendor has begun to answer, or goes on."""
        self.is_begun = True
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time() + self._line.settings.stall_s)

    def interim(self, text: str) -> None:
        self.alive()
        self.text = text
        self._line.written(self)

    def done(self) -> None:
        """Its text is whole. To return says the same; this is for a transcriber that still has something to read."""
        self.is_done, self.pcm = True, b""
        self._line.deliver()

    def again(self) -> None:
        """Asked once more: what was written before does not count."""
        self.text, self.words, self.is_begun = "", None, False

    def pos(self, at_s: float) -> int:
        """The session's position of a time in this audio. Raises ProviderError where that time cannot be."""
        if not 0.0 <= at_s <= self.seconds + 1.0:
            raise self._line.vendor.error("protocol", f"a time of {at_s:g} s in {self.seconds:g} s of audio")
        return min(self.begin + round(at_s * self._line.spec.rate_hz), self.end)

    def used(self, **amounts: float) -> None:
        self._line.tell(Usage(amounts=amounts))


class Transcriber(Protocol):
    """What one vendor wants, for one stream."""

    async def transcribe(self, job: Job) -> None:
        """Ask for a job's text, and write it into the job. Raises ProviderError."""
        ...

    def update(self, changes: Mapping[str, Any]) -> tuple[str, ...]:
        """Changed options, for the jobs that come; returns the names refused."""
        ...


class UtteranceLine:
    """An `SttStream`."""

    def __init__(
        self, transcriber: Transcriber, spec: StreamSpec, emit: Emit, vendor: Vendor, counts: VendorCounts,
        home: TaskHome, settings: UtteranceSettings, ended: Callable[[UtteranceLine], None] = lambda line: None,
    ) -> None:  # fmt: skip
        self.spec, self.vendor, self.settings, self.counts = spec, vendor, settings, counts
        self._transcriber, self._emit, self._home, self._ended = transcriber, emit, home, ended
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger(spec.pos, round((settings.utterance_s + settings.before_s) * spec.rate_hz) + spec.rate_hz)
        self._settling = Settling(spec.pos)
        self._jobs: deque[Job] = deque()
        """In the order of the speech; told in that order."""
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_speech = self._is_speaking = self._is_over = False

    # ------------------------------------------------------------------------------------ what the session says

    def audio(self, pos: int, pcm: bytes) -> None:
        if self._is_over:
            return
        if len(pcm) & 1:
            self.fail(self.vendor.error("protocol", f"{len(pcm)} bytes are no whole number of 16-bit samples"))
            return
        ledger, rate_hz = self._ledger, self.spec.rate_hz
        step = 2 * rate_hz  # a second at a time: what is given at once may be longer than what is kept
        for at in range(0, len(pcm), step):
            ledger.add(pos + at // 2, pcm[at : at + step])
            if not self._has_speech:
                ledger.skip(ledger.end - round(self.settings.before_s * rate_hz))
                ledger.settle(ledger.cursor)
            elif ledger.behind >= self.settings.utterance_s * rate_hz:
                self._send(ledger.end)

    def speech_start(self, utt: int, pos: int) -> None:
        if not self._is_over:
            self._settling.speech(utt)
            self._has_speech = self._is_speaking = True

    def speech_end(self, utt: int, pos: int) -> None:
        self._is_speaking = False

    def finalize(self, utt: int, pos: int) -> None:
        if self._is_over:
            return
        if not self._settling.ask(utt, pos):
            self.tell(Finalized(utt=utt, to_pos=pos))
            return
        ask = self._settling.asks[-1]
        ask.is_sent = True
        if not self._has_speech:
            self._ledger.skip(ask.pos)
        self._has_speech = self._is_speaking
        self._send(ask.pos, ask)

    def pause(self) -> None:
        return

    def resume(self) -> None:
        return

    def update(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(options) if self._is_over else self._transcriber.update(options)

    async def close(self, *, drain: bool) -> None:
        if self._is_over:
            return
        if drain:
            await self._drain()
        self._finish()

    async def _drain(self) -> None:
        """What is being said is asked for, too; what the vendor does not say in time, its interim says."""
        if self._has_speech:
            self.finalize(self._settling.utt, self._ledger.end)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_DRAIN_S)
        for job in self._jobs:
            if job.due is not None:
                self._tell_all(self._settling.overdue(job.text))

    # ------------------------------------------------------------------------------------------------ the jobs

    def _send(self, to_pos: int, ask: Ask | None = None) -> None:
        """Everything up to there that was not sent, as a job."""
        if len(self._jobs) >= _JOBS_MAX:
            self.fail(self.vendor.error("overload", f"{_JOBS_MAX} utterances wait for their texts"))
            return
        ledger, pcm = self._ledger, b""
        begin = ledger.next_pos
        while ledger.next_pos < to_pos and (piece := ledger.take(to_pos - ledger.next_pos, flush=True)) is not None:
            pcm += piece[1]
        ledger.settle(ledger.cursor)
        job = Job(self, self._settling.utt if ask is None else ask.utt, begin, to_pos, pcm)
        if not pcm:
            job.is_done = True
        self._jobs.append(job)
        if ask is not None:
            job.due = self._loop.call_later(self.settings.finalize_s, self._overdue, job)
        if job.is_done:
            self.deliver()
            return
        task = self._home.spawn(self._run(job), f"transcribe {self.spec.session_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        async with self._gate:
            try:
                try:
                    await self._ask(job)
                except ProviderError as error:
                    if error.kind not in _PASSING or job.is_done:
                        raise
                    job.again()
                    self.counts.reconnects += 1
                    await self._ask(job)
            except ProviderError as error:
                if not job.is_done:
                    self.fail(error)
                return
        if not job.is_done:
            job.done()

    async def _ask(self, job: Job) -> None:
        try:
            async with asyncio.timeout(self.settings.stall_s) as job.limit:
                await self._transcriber.transcribe(job)
        except TimeoutError:
            self.counts.stalls += job.is_begun
            limit_s = self.settings.stall_s
            if job.is_begun:
                raise self.vendor.error("stall", f"an answer began, and no more came for {limit_s:g} s") from None
            raise self.vendor.error("timeout", f"no answer within {limit_s:g} s") from None

    def written(self, job: Job) -> None:
        """A job has more text than before."""
        if self._jobs and job is self._jobs[0] and job.end > self._settling.pos:
            self.tell(Partial(utt=job.utt, text=job.text))

    def deliver(self) -> None:
        """Tell the texts that are whole, in the order of the speech."""
        while self._jobs and self._jobs[0].is_done and not self._is_over:
            job = self._jobs.popleft()
            if job.due is not None:
                job.due.cancel()
            since = self._settling.pos  # a text of this audio alone: it repeats nothing
            told = self._settling.final(job.end, job.text, job.words, language=job.language, from_pos=since)
            if told is not None:
                self.tell(told)
            if self._settling.asks and self._settling.asks[0].pos <= job.end:
                self._tell_all(self._settling.answered(job.end))

    def _overdue(self, job: Job) -> None:
        self.counts.late += 1
        job.due = None
        self._tell_all(self._settling.overdue(job.text))

    # ------------------------------------------------------------------------------------------------ the rest

    def fail(self, error: ProviderError) -> None:
        """The last word of this stream."""
        if self._is_over:
            return
        self.counts.faults += 1
        self.tell(fault_of(error))
        self._finish()

    def tell(self, event: ProviderEvent) -> None:
        if not self._is_over:
            self._emit(event)

    def _tell_all(self, events: Sequence[ProviderEvent]) -> None:
        for event in events:
            self.tell(event)

    def _finish(self) -> None:
        self._is_over = True
        for job in self._jobs:
            if job.due is not None:
                job.due.cancel()
        self._jobs.clear()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._ended(self)

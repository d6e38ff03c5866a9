"""What a roll-over means to each stage: when it is quiet, how it is brought to be, what the new stream is told.

ear      quiet: no open turn, no final owed. Near the deadline its final is asked for and the audio behind it waits
         in the ring, so that the next stream goes on from there: no word is lost or heard twice.
voice    quiet: no context open. A reply in the works ends its context at a sentence; the rest goes to the next.
agent    quiet: not asked, no tool at work.
model    quiet: nobody speaks, nothing is owed. It is told the history; or it comes back by the vendor's handle,
         which holds what was said before it was given: that one is opened at a quiet moment, and again if it
         passes. Where none comes, the first stream ends as `expired`, and the next one comes back by the handle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors import turn_table as law
from actors import wire
from actors.listening import Listening
from actors.providers.interface import Item, StreamSpec
from actors.speaking import Speaking
from actors.stage_slot import StageSlot
from actors.turn_law import TurnLaw
from router.plan import Candidate

__all__ = ["RollStages"]


class RollStages:
    """Of one session. A `roll_over.Stages`."""

    def __init__(
        self,
        turns: TurnLaw,
        listening: Listening,
        speaking: Speaking,
        spec: Callable[[StageSlot, Candidate, int], StreamSpec],
        capabilities: Callable[[Candidate], Any],
        tell_history: Callable[[StageSlot], None],
        ear_cut: Callable[[], None],
        leave_lane: Callable[[], None],
        count: Callable[[str], None],
    ) -> None:
        self._handle: tuple[str, str] | None = None
        """A provider, and the newest handle by which it takes its conversation up again."""
        self._kept: tuple[str | None, tuple[Item, ...]] | None = None
        """By which handle, and at which state of the history, the model beside was opened; None: by none."""
        self._law, self._listen, self._speak = turns, listening, speaking
        self._spec, self._caps, self._count = spec, capabilities, count
        self._tell_history, self._ear_cut, self._leave_lane = tell_history, ear_cut, leave_lane

    def resumable(self, slot: StageSlot, handle: str) -> None:
        if getattr(self._caps(slot.candidate), "resume", False):
            self._handle = (slot.provider, handle)

    def resume(self, provider: str) -> str | None:
        """The handle for a new stream of this provider."""
        return self._handle[1] if self._handle is not None and self._handle[0] == provider else None

    def life_s(self, slot: StageSlot) -> float | None:
        life_s: float | None = self._caps(slot.candidate).max_stream_s
        return life_s

    def prepare(self, slot: StageSlot) -> bool:
        handle = self.resume(slot.provider)
        self._kept = None
        if slot.state != "ready" or (handle is not None and not self.is_quiet(slot)):
            return False
        if handle is not None:
            self._kept = (handle, self._speak.history.items())
        slot.prepare(self._spec(slot, slot.candidate, slot.next_epoch()))
        return True

    def prepared(self, slot: StageSlot) -> None:
        if slot.stage == "stt" and slot.beside is not None:
            slot.beside.send(wire.SttPause())  # until it takes over it hears nothing

    def is_quiet(self, slot: StageSlot) -> bool:
        listen, speak, reply = self._listen, self._speak, self._speak.current
        if slot.stage == "stt":
            if listen.words.held:  # what it was given before, it has answered, or will not
                return listen.finalizing is None or listen.settled_to >= listen.words.sent
            return listen.is_idle and not listen.words.lag
        if slot.stage == "tts":
            return reply is None or reply.recital.is_idle
        if slot.stage == "agent":
            return (reply is None or not reply.asked) and not speak.tools.is_busy
        quiet = speak.is_model_quiet and self._law.caller is law.CallerState.QUIET and not self._law.has_words
        return quiet and not self._is_behind(slot)

    def _is_behind(self, slot: StageSlot) -> bool:
        """The model was opened by a handle, and something was said since."""
        return self._kept is not None and self._kept != (self.resume(slot.provider), self._speak.history.items())

    def hush(self, slot: StageSlot, *, now: bool) -> None:
        if slot.stage == "stt":
            listen = self._listen
            if now and listen.finalizing is None and not listen.words.held and not listen.words.lag:
                self._leave_lane()
                self._listen.words.held = True
                self._listen.finalize(self._law.utt)
        elif slot.stage == "tts":
            self._speak.yield_voice(now=now)
        elif slot.stage == "s2s" and self._is_behind(slot):
            slot.drop_beside()  # another will be opened

    def unhush(self, slot: StageSlot) -> None:
        if slot.stage == "stt" and self._listen.words.held:
            self._listen.words.held = False
            self._listen.pump()
        elif slot.stage == "tts":
            self._speak.take_voice()

    def switch(self, slot: StageSlot, *, quiet: bool) -> None:
        resumed = slot.stage == "s2s" and self._kept is not None
        if resumed and not quiet:
            slot.drop_beside()
            return
        self._leave_lane()
        self._count(slot.stage)
        if slot.stage == "stt" and (not quiet or self._listen.final_missed):
            self._ear_cut()
        slot.switch()
        if slot.stage == "stt":
            self._listen.renewed()
        elif slot.stage == "tts":
            if not quiet:
                self._speak.voice_changed()
            self._speak.take_voice()
        elif slot.stage == "agent":
            if not quiet and self._speak.agent is not None:
                self._speak.agent.changed()
        else:
            self._listen.renewed()
            if not resumed:
                self._tell_history(slot)
                self._speak.again()

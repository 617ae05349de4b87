"""A route's providers are asked in order until one answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from asrproxy.events import FailedOver
from asrproxy.plugin import (
    AsrError,
    AttemptRecord,
    Call,
    Capabilities,
    CircuitOpen,
    Context,
    DeadlineExceeded,
    Health,
    NotReady,
    Observer,
    Options,
    Overloaded,
    ProviderError,
    RateLimited,
    Recognition,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    UnsupportedParameter,
    Utterance,
)

PATIENCE: Final = 5.0
"""Seconds that a call may idle at a provider when another could answer meanwhile."""
SLIP: Final = 0.05
"""Seconds that an utterance may be longer than a provider's limit: the cut is to the sample, the vendors' limits are round."""

MOVES_ON: Final = (ProviderError, CircuitOpen, RateLimited, Overloaded, DeadlineExceeded, UnsupportedParameter)
"""Errors that another provider might not have."""


class Member(Protocol):
    """A provider with its policy, as a route sees it. attempt_timeout: seconds that one call of it may take."""

    @property
    def name(self) -> str: ...
    @property
    def call(self) -> Call: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def attempt_timeout(self) -> float: ...
    def available(self) -> Health: ...


class Race(Protocol):
    """Makes one call of two: hedge.py's, which starts the second when the first is slow."""

    def __call__(self, first: Call, second: Call) -> Call: ...


Order = Callable[[Sequence[Member], Context], Sequence[Member]]
"""The providers as one call tries them: split.py's."""


class Failover:
    """A call at the first provider that can serve it; when that fails for good, at the next, within the deadline.

    Passed over, with the reason in the trail: who cannot do what is asked, and who says that it cannot answer now while another one can;
    that one is asked after all when the others have failed, since it may have woken up, and asking costs less than refusing.

    Moves on after every error that another provider might not have: also Refused (it has other credentials) and Rejected (what one vendor
    makes of the caller's audio is no law: the core has decoded it, so it is audio). Not after a defect of the request itself.

    No provider but the last may use up the time: for those after it, one attempt's timeout each is set aside, at most half of what is left.
    When none answers and one had a text that seemed too short, that text is the answer, marked `suspect`: worth more than none.

    race: None, or how the first provider's call gets a second beside it. order: None, or how a call's own order is found.
    """

    def __init__(
        self, *, route: str, members: Sequence[Member], observer: Observer, race: Race | None = None, order: Order | None = None
    ) -> None:
        self._route, self._members, self._observer, self._race, self._order = route, tuple(members), observer, race, order

    async def __call__(self, utterance: Utterance, context: Context) -> Recognition:
        """The route's call."""
        members = self._members if self._order is None else self._order(self._members, context)
        able = [member for member in members if self._can(member, utterance, context)]
        able, asleep = self._awake(able, context)
        errors: list[tuple[Member, AsrError]] = []
        raced: list[Member] = []
        try:
            for place, member in enumerate((*able, *asleep)):
                if member in raced:
                    continue
                if errors:
                    before, why = errors[-1]
                    self._observer(FailedOver(context.request_id, self._route, before.name, member.name, why, context.trace))
                    del before, why
                call, later = member.call, able[place + 1 :] if place < len(able) else asleep[place + 1 - len(able) :]
                if self._race is not None and place == 0:
                    call, later = self._race(call, self._second(able, raced, errors)), able[2:]
                try:
                    return await call(utterance, self._share(context, later))
                except MOVES_ON as error:
                    errors.append((member, error))
                    if member not in asleep and isinstance(error, CircuitOpen | RateLimited | UnsupportedParameter):
                        _pass_over(member, error.message, context, _word(error))
                if context.remaining() <= 0:
                    break
            return self._end(errors, context)
        finally:
            errors.clear()  # an error's traceback holds this frame; holding the error here too, the audio would wait for the collector

    def _can(self, member: Member, utterance: Utterance, context: Context) -> bool:
        """Whether it can serve the call at all."""
        capabilities = member.capabilities
        if not capabilities.speaks(context.options.language):
            reason = f"does not recognise {context.options.language}"
        elif lacking := missing(capabilities, context.options):
            reason = f"cannot honour {', '.join(lacking)}"
        elif utterance.duration > (most := max(capabilities.longest, capabilities.whole or 0.0)) + SLIP:
            reason = f"takes at most {most:g} s of audio"
        else:
            return True
        _pass_over(member, reason, context, "unsupported")
        return False

    def _awake(self, able: list[Member], context: Context) -> tuple[list[Member], list[Member]]:
        """Those that say that they can answer now, and those that do not; when none can, all are taken for awake."""
        if len(able) < 2:
            return able, []
        states = [(member, member.available()) for member in able]
        ready = [member for member, health in states if health.ready]
        if not ready:
            return able, []
        for member, health in states:
            if not health.ready:
                _pass_over(member, health.reason or "not ready", context, "not_ready")
        return ready, [member for member, health in states if not health.ready]

    def _second(self, able: list[Member], raced: list[Member], errors: list[tuple[Member, AsrError]]) -> Call:
        """What runs beside the first: the next provider, or the first once more when it is alone."""
        if len(able) == 1:
            return able[0].call
        member = able[1]

        async def beside(utterance: Utterance, context: Context) -> Recognition:
            raced.append(member)  # it has had its turn, whatever comes of it
            try:
                return await member.call(utterance, context)
            except AsrError as error:
                errors.append((member, error))
                raise

        return beside

    def _share(self, context: Context, later: Sequence[Member]) -> Context:
        """The context with what this provider may use of the time."""
        if not later:
            return context
        set_aside = min(sum(member.attempt_timeout for member in later), context.remaining() / 2)
        return replace(context, deadline=context.deadline - set_aside, patience=min(PATIENCE, context.patience))

    def _end(self, errors: Sequence[tuple[Member, AsrError]], context: Context) -> Recognition:
        """None has answered."""
        heard = [(member.name, error.text) for member, error in errors if isinstance(error, Truncated)]
        if heard:
            name, text = max(heard, key=lambda each: len(each[1]))
            return Recognition(text, provider=name, suspect=True)
        if not errors:
            raise UnsupportedParameter(f"no provider of route {self._route!r} can serve this: {_told(context)}")
        raise summary(self._route, [(member.name, error) for member, error in errors], late=context.remaining() <= 0)


TELLING: Final[tuple[type[AsrError], ...]] = (
    Throttled,
    Refused,
    Rejected,
    NotReady,
    RateLimited,
    Overloaded,
    CircuitOpen,
    DeadlineExceeded,
)
"""What a caller should hear of when providers failed in different ways, after the vendors' own failures: what a vendor answered goes before
what we refused ourselves."""


def summary(route: str, errors: Sequence[tuple[str, AsrError]], *, late: bool) -> AsrError:
    """The most telling of the providers' errors, with what each said and the earliest moment to come back.

    late: the request's time is over, so that is what it ends with if any provider was cut short by it.
    """

    def rank(error: AsrError) -> int:
        if isinstance(error, DeadlineExceeded) and late:
            return -2
        places = [place for place, kind in enumerate(TELLING) if isinstance(error, kind)]
        if places:
            return places[0]
        return -1 if isinstance(error, ProviderError) else len(TELLING)

    chosen = min((error for _, error in errors), key=rank)
    if len(errors) == 1:
        return chosen
    told = copy.copy(chosen)
    told.message = f"no provider of route {route!r} could answer: " + "; ".join(f"{name}: {error.message}" for name, error in errors)
    told.args = (told.message,)
    told.retry_after = min((error.retry_after for _, error in errors if error.retry_after is not None), default=None)
    told.__cause__ = chosen
    return told


def missing(capabilities: Capabilities, options: Options) -> list[str]:
    """The options asked for that are not among the capabilities; the language is judged apart."""
    return [name for name in options.asked() if name not in capabilities.options]


def _pass_over(member: Member, reason: str, context: Context, code: str) -> None:
    context.trail.add(AttemptRecord(member.name, "skipped", code, reason, segment=context.segment))


def _told(context: Context) -> str:
    return "; ".join(f"{record.provider} {record.reason}" for record in context.trail.records if record.outcome == "skipped")


def _word(error: AsrError) -> str:
    match error:
        case CircuitOpen():
            return "circuit_open"
        case RateLimited():
            return "rate_limited"
        case _:
            return "unsupported"

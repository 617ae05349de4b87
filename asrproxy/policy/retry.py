"""A failed call is tried again, where that may help and does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import Final

from asrproxy.config.models import RetrySettings
from asrproxy.events import RetryRefused, RetryScheduled
from asrproxy.plugin import Call, Context, Observer, ProviderError, Recognition, Truncated, Utterance
from asrproxy.policy.budget import Budget

SMOOTHING: Final = 0.05
"""Weight of the newest answer in the mean time of an answer."""


class Retry:
    """Repeats a failed call while its error allows, attempts are left, the budget holds and there is time for another answer.

    The only layer that repeats a call at one provider. Full-jitter back-off (Brooker, AWS Architecture Blog, 2015), on top of what the
    vendor asked for in `retry_after`. Only a provider's errors are repeated: our own limits and an open circuit are for the failover.

    budget: shared by all calls of the provider. shut: whether a repeat would be refused anyway; then no time is spent waiting for it.
    sleep: waits for seconds.
    """

    def __init__(
        self,
        *,
        provider: str,
        settings: RetrySettings,
        budget: Budget,
        observer: Observer,
        random: Random,
        shut: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._provider, self._settings, self._budget, self._observer = provider, settings, budget, observer
        self._random, self._shut, self._sleep = random, shut, sleep
        self._usual: float | None = None

    def __call__(self, call: Call) -> Call:
        async def retrying(utterance: Utterance, context: Context) -> Recognition:
            time = asyncio.get_running_loop().time
            began = slept = time()
            self._budget.deposit(began)
            longest: str | None = None
            for attempt in count(1):
                try:
                    recognition = await call(utterance, context if attempt == 1 else context.with_attempt(attempt))
                except ProviderError as error:
                    if isinstance(error, Truncated) and (longest is None or len(error.text) > len(longest)):
                        longest = error.text
                    pause = self._pause(error, attempt, context)
                    if pause is None:
                        # The longest text that was heard is worth more than the last error: the failover may still answer with it.
                        if longest is not None and not (isinstance(error, Truncated) and error.text == longest):
                            raise self._truncated(longest, error) from error
                        raise
                else:
                    ended = time()
                    seconds = ended - began
                    self._usual = seconds if self._usual is None else self._usual + (seconds - self._usual) * SMOOTHING
                    if attempt > 1:
                        self._budget.pay_back(slept, ended)
                    return recognition
                slept = time()
                await self._sleep(pause)
                began = time()
                context.trail.paused += began - slept
            raise AssertionError("count never ends")

        return retrying

    def _pause(self, error: ProviderError, attempt: int, context: Context) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        # Another try may not help, or is not configured, or the circuit has opened meanwhile.
        if not error.retryable or attempt >= self._settings.attempts or self._shut():
            return None
        pause = (error.retry_after or 0.0) + self._backoff(attempt)
        # Its answer would come too late, or another provider could answer sooner.
        if pause + (self._usual or 0.0) >= context.remaining() or pause > context.patience:
            self._observer(RetryRefused(context.request_id, self._provider, "deadline", context.trace))
            return None
        # The last question, as a yes takes from the budget.
        if not self._budget.withdraw(asyncio.get_running_loop().time()):
            self._observer(RetryRefused(context.request_id, self._provider, "budget", context.trace))
            return None
        self._observer(RetryScheduled(context.request_id, self._provider, attempt, pause, error, context.trace))
        return pause

    def _backoff(self, attempt: int) -> float:
        backoff = self._settings.backoff
        ceiling = min(backoff.max, backoff.initial * backoff.factor ** (attempt - 1))
        return self._random.uniform(0.0, ceiling) if backoff.jitter == "full" else ceiling

    def _truncated(self, text: str, error: ProviderError) -> Truncated:
        best = Truncated(error.message, text=text, vendor_code=error.vendor_code)
        best.provider = self._provider
        return best

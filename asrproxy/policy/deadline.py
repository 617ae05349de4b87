"""No attempt outlasts its timeout or the caller's deadline."""

from __future__ import annotations

import asyncio
from typing import Final

from asrproxy.plugin import AttemptTimeout, Call, Context, DeadlineExceeded, Recognition, Utterance

PER_MINUTE: Final = 2.0
"""An hour is 115 MB to send, and NLS says of FlashRecognizer that half an hour takes it ten seconds."""


class Deadline:
    """Ends a call at the provider after `attempt_timeout` seconds or at the context's deadline, whichever comes first.

    A recording sent whole has `PER_MINUTE` seconds more for each minute over the first. The first limit is AttemptTimeout, the vendor's
    doing; the second DeadlineExceeded, which says nothing about the vendor. One timer serves both. It cancels the call, and a cancelled
    provider closes its connection, so work at the vendor stops.
    """

    def __init__(self, *, provider: str, attempt_timeout: float) -> None:
        self._provider = provider
        self._attempt_timeout = attempt_timeout

    def __call__(self, call: Call) -> Call:
        async def timely(utterance: Utterance, context: Context) -> Recognition:
            allowed = self._attempt_timeout + max(0.0, utterance.duration - 60.0) / 60.0 * PER_MINUTE
            ours = asyncio.get_running_loop().time() + allowed
            limit = asyncio.timeout_at(min(ours, context.deadline))
            try:
                async with limit:
                    return await call(utterance, context)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                if ours > context.deadline:
                    late = f"the time allowed ran out while {self._provider} was at work"
                    raise DeadlineExceeded(late, provider=self._provider) from error
                slow = f"no answer within {allowed:g} s (policy.attempt_timeout)"
                raise AttemptTimeout(slow, provider=self._provider) from error

        return timely

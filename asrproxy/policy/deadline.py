"""No attempt outlasts its timeout or the caller's deadline."""

from __future__ import annotations

import asyncio

from asrproxy.plugin import AttemptTimeout, Call, Context, DeadlineExceeded, Recognition, Utterance


class Deadline:
    """Ends a call at the provider after `attempt_timeout` seconds or at the context's deadline, whichever comes first.

    The first is AttemptTimeout, the vendor's doing; the second DeadlineExceeded, which says nothing about the vendor. One timer serves
    both. It cancels the call, and a cancelled provider closes its connection, so work at the vendor stops.
    """

    def __init__(self, *, provider: str, attempt_timeout: float) -> None:
        self._provider = provider
        self._attempt_timeout = attempt_timeout

    def __call__(self, call: Call) -> Call:
        async def timely(utterance: Utterance, context: Context) -> Recognition:
            ours = asyncio.get_running_loop().time() + self._attempt_timeout
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
                slow = f"no answer within {self._attempt_timeout:g} s (policy.attempt_timeout)"
                raise AttemptTimeout(slow, provider=self._provider) from error

        return timely

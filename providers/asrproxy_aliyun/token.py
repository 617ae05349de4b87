"""The token lease: one valid token for every call, renewed ahead of its end, by one request at a time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from asrproxy.plugin import (
    AsrError,
    CircuitChanged,
    CircuitOpen,
    Fault,
    Health,
    Observer,
    ProviderError,
    Refused,
    TokenAge,
    TokenRefreshed,
    ignore,
    pybreaker,
)

_EARLY: Final = 300.0
_EARLY_SHARE: Final = 0.25  # of the lifetime, for tokens that live less than twenty minutes
_FAILURES: Final = 3
_FIRST_RESET: Final = 1.0  # seconds
_REFUSAL_HOLDS: Final = 30.0  # seconds, as the next, and no longer than `reset`
_UNPROVEN_HOLDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Token:
    """expires: a moment on the loop's clock, so that a stepped wall clock changes nothing. expire_time: the vendor's, Unix seconds."""

    id: str = field(repr=False)
    expires: float
    expire_time: float


class TokenSource(Protocol):
    """Where tokens come from: the vendor, or something shared in front of it.

    `issue` gives a token that holds and is not `refused` (the one that the gateway would not take, None: the old one is only getting
    old). The lease calls it once at a time. It raises a ProviderError and bounds its own time.
    """

    async def issue(self, refused: Token | None) -> Token: ...


class GivenToken:
    """A `TokenSource` for a token from the configuration: there is no second one."""

    def __init__(self, token_id: str) -> None:
        self._token = Token(token_id, expires=math.inf, expire_time=math.inf)

    async def issue(self, refused: Token | None) -> Token:
        if refused is not None:
            raise Refused("the gateway refuses the configured token, and there are no access keys to make another", vendor_code=40000001)
        return self._token


def _shown(secret: str) -> None:
    return None


class TokenLease:
    """Holds the token that calls use.

    Renewed five minutes early (a quarter of its life, for short-lived ones) with jitter, so that sidecars started together do not ask
    together; until a renewal succeeds the old one serves while it is valid. After three faults of the service or the network in a row it
    is left alone for `reset` seconds, then asked once; since only one request is ever under way, exactly one trial passes. Before the first
    token that is 1 s, 2 s, 4 s, … up to `reset`: without one nobody can be answered, and calls that try spend three faults in no time.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        provider: str,
        reset: float = 60.0,
        announce: Observer = ignore,
        conceal: Callable[[str], None] = _shown,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._provider = provider
        self._reset = reset
        self._left_alone = min(reset, _FIRST_RESET)
        self._announce, self._conceal = announce, conceal
        self._jitter = jitter
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=_FAILURES,
            reset_timeout=reset,
            exclude=[_not_the_services_fault],
            listeners=[_Announcer(f"{provider}.token", announce)],
            throw_new_error_on_trip=False,
        )
        self._token: Token | None = None
        self._proven = False
        self._got_at = -math.inf
        self._replaced_at = -math.inf
        self._renew_at = -math.inf
        self._reset_at = -math.inf
        self._refusal: tuple[float, Refused] | None = None
        self._failure: AsrError | None = None
        self._refreshing: asyncio.Task[Token] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._refreshes = 0

    def start(self) -> None:
        """Gets the first token and keeps it fresh, in a task that `aclose` ends."""
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._provider}-token")

    def current(self) -> Token | None:
        """The token, if one holds now: the whole of what most calls need."""
        token = self._token
        return token if token is not None and token.expires > asyncio.get_running_loop().time() else None

    async def token(self) -> Token:
        """The token; waits for the first. Raises Refused, CircuitOpen or what the source raised."""
        return self.current() or await self._refresh(None)

    async def replace(self, refused: Token, refusal: ProviderError) -> Token:
        """Another token than `refused`, which the gateway would not take. However many ask at once, one is made.

        Raises `refusal` itself where a fresh one was refused too: then it is not the token that is wrong.
        """
        current = self.current()
        # Replaced since that call began => just use it
        if current is not None and current.id != refused.id:
            return current
        if self._refreshing is None:
            now = asyncio.get_running_loop().time()
            # The last replacement never worked either => asking for a token a call would only hammer the service
            if not self._proven and now < self._replaced_at + min(_UNPROVEN_HOLDS, self._reset):
                raise refusal
            self._token = None
            self._replaced_at = now
        return await self._refresh(refused)

    def accepted(self, token: Token) -> None:
        """The gateway took it."""
        if token is self._token:
            self._proven = True

    def health(self) -> Health:
        if self.current() is not None:
            return Health()
        return Health(ready=False, reason=f"no token: {self._failure}" if self._failure else "waiting for the first token")

    def age(self) -> TokenAge:
        now = asyncio.get_running_loop().time()
        circuit = self._circuit.current_state
        if (token := self.current()) is None:
            return TokenAge(None, None, circuit)
        return TokenAge(now - self._got_at, token.expires - now if math.isfinite(token.expires) else None, circuit)

    def status(self) -> Mapping[str, object]:
        token = self.current()
        remaining = token.expires - asyncio.get_running_loop().time() if token is not None else None
        finite = remaining is not None and math.isfinite(remaining)
        return {
            "valid": token is not None,
            "expires_in": round(remaining, 1) if finite and remaining is not None else None,
            "expires_at": _iso(token.expire_time) if finite and token is not None else None,
            "refreshes": self._refreshes,
            "circuit": self._circuit.current_state,
            "retry_after": self._held_for(),
            "error": str(self._failure) if self._failure else None,
        }

    def _held_for(self) -> float | None:
        """Seconds for which the service is not asked, None: it would be."""
        now = asyncio.get_running_loop().time()
        until = self._reset_at if self._circuit.current_state == pybreaker.STATE_OPEN else -math.inf
        if self._refusal is not None:
            until = max(until, self._refusal[0])
        return round(until - now, 3) if until > now else None

    async def aclose(self) -> None:
        for task in (self._keeper, self._refreshing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, AsrError):
                    await task
        self._keeper = self._refreshing = None

    async def _refresh(self, refused: Token | None) -> Token:
        # Decided without an await: whoever comes first begins, the others wait for the same task; a waiter that is cancelled leaves it be.
        if self._refreshing is None:
            self._recall_refusal()
            self._refreshing = asyncio.create_task(self._issue(refused), name=f"{self._provider}-create-token")
            self._refreshing.add_done_callback(self._refreshed)
        return await asyncio.shield(self._refreshing)

    def _recall_refusal(self) -> None:
        if self._refusal is not None:
            until, refusal = self._refusal
            if asyncio.get_running_loop().time() < until:
                raise Refused(refusal.message, vendor_code=refusal.vendor_code)
            self._refusal = None

    def _refreshed(self, task: asyncio.Task[Token]) -> None:
        self._refreshing = None
        self._changed.set()
        if not task.cancelled():
            task.exception()  # seen: with no waiter left it would be reported as lost

    async def _issue(self, refused: Token | None) -> Token:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            self._enter(began)
            # pybreaker counts when the block is left; its decorators would take the coroutine's creation for the call.
            with self._circuit.calling():
                token = await self._source.issue(refused)
        except ProviderError as error:
            self._failed(error, loop.time(), loop.time() - began)
            raise
        self._conceal(token.id)
        lifetime = token.expires - loop.time()
        early = min(_EARLY, lifetime * _EARLY_SHARE) if math.isfinite(lifetime) else 0.0
        self._renew_at = token.expires - early * (1 + 0.2 * self._jitter())
        self._token, self._failure, self._refusal = token, None, None
        self._left_alone = self._reset
        self._proven = False
        self._got_at = loop.time()
        self._refreshes += 1
        self._announce(TokenRefreshed(self._provider, loop.time() - began, lifetime if math.isfinite(lifetime) else None, None))
        return token

    def _enter(self, now: float) -> None:
        """Raises CircuitOpen. When to try again is the loop's clock to say: pybreaker goes by the wall clock, which may be set."""
        if self._circuit.current_state == pybreaker.STATE_OPEN:
            if now < self._reset_at:
                raise self._open(self._reset_at - now)
            self._circuit.half_open()

    def _failed(self, error: ProviderError, now: float, seconds: float) -> None:
        self._failure = error
        if self._circuit.current_state == pybreaker.STATE_OPEN:
            self._reset_at = now + self._left_alone
            self._left_alone = min(self._reset, 2 * self._left_alone)
        if isinstance(error, Refused):
            self._refusal = (now + min(_REFUSAL_HOLDS, self._reset), error)
        # Tried again well before the old one ends; three faults in a row open the circuit.
        left = self._token.expires - now if self._token is not None else 0.0
        self._renew_at = now + min(30.0, max(1.0, left / 10))
        self._announce(TokenRefreshed(self._provider, seconds, None, error))

    def _open(self, left: float) -> CircuitOpen:
        return CircuitOpen(
            f"the token service failed {_FAILURES} times in a row ({self._failure}); it is tried again in {left:.1f} s",
            retry_after=left,
            provider=self._provider,
        )

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            wait = self._renew_at - loop.time()
            if wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait if math.isfinite(wait) else None):
                        await self._changed.wait()
                continue
            try:
                await self._refresh(None)
            except CircuitOpen as error:
                self._renew_at = loop.time() + min(self._reset, 5.0, error.retry_after or math.inf)
            except AsrError:
                # Announced and kept for health; a remembered refusal waits until it may be asked again.
                self._renew_at = max(self._renew_at, self._refusal[0] if self._refusal else 0.0)


class _Announcer(pybreaker.CircuitBreakerListener):
    def __init__(self, name: str, announce: Observer) -> None:
        self._name = name
        self._announce = announce

    def state_change(
        self, cb: pybreaker.CircuitBreaker, old_state: pybreaker.CircuitBreakerState | None, new_state: pybreaker.CircuitBreakerState
    ) -> None:
        self._announce(CircuitChanged(self._name, old_state.name if old_state is not None else "closed", new_state.name))


def _not_the_services_fault(error: BaseException) -> bool:
    return not (isinstance(error, AsrError) and error.fault in (Fault.VENDOR, Fault.NETWORK))


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))

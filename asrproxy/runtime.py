"""Everything that one configuration needs, opened; a changed one becomes a new generation, and the old ends with its last request."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from asrproxy.audio.decode import Decoders
from asrproxy.config.models import (
    DEFAULT_ROUTE,
    BudgetSettings,
    Configuration,
    LogSettings,
    ProviderEntry,
    RouteSettings,
    ShadowSettings,
)
from asrproxy.cores import cores
from asrproxy.drain import DrainLimit
from asrproxy.errors import ConfigError
from asrproxy.events import AttemptEnded, CircuitChanged, ConfigReloaded, Event, Observer
from asrproxy.figures import Figures, ProviderFigures
from asrproxy.ledger import Ledger
from asrproxy.place import Place, part_of
from asrproxy.plugin import Host, Provider, ProviderSettings
from asrproxy.policy.shadow import SHADOW_ROUTE, Shadow
from asrproxy.policy.spending import Member, Metered, Spending
from asrproxy.policy.split import Split
from asrproxy.policy.stack import ProviderStack, RouteStack
from asrproxy.recognizer import Recognizer, Route
from asrproxy.remember import SegmentMemory
from asrproxy.secrecy import Secrets
from asrproxy.text.distance import difference
from asrproxy.trace import Traces

if TYPE_CHECKING:
    from asrproxy.fleet.fleet import Fleet
    from asrproxy.fleet.rate import SharedRate

START: Final = 20.0
"""Seconds that a provider's `start` may take before it counts as failed; slow loading belongs into the provider's own task."""
CLOSE: Final = 5.0
AWAKE: Final = 5.0
"""Seconds that a reload waits for new providers to be ready; one that takes longer is taken as it is."""

ProviderFactory = Callable[[str], type[Provider]]


class Opened:
    """A started provider with its policy, held by as many generations as use it unchanged. let_go: gives back what was taken for it."""

    def __init__(self, entry: ProviderEntry, provider: Provider, stack: ProviderStack, let_go: Callable[[], None] | None = None) -> None:
        self.entry = entry
        self.provider = provider
        self.stack = stack
        self.holders = 0
        self._let_go = let_go

    def figures(self) -> ProviderFigures:
        """What can be read of it now."""
        return ProviderFigures(
            ready=self.stack.available().ready,
            policy=self.stack.figures(),
            connections=self.provider.connections(),
            token=self.provider.token_age(),
        )

    async def release(self) -> None:
        """One holder less; the last one closes it."""
        self.holders -= 1
        if self.holders == 0:
            if self._let_go is not None:
                self._let_go()
            try:
                async with asyncio.timeout(CLOSE):
                    await self.stack.aclose()
                    await self.provider.aclose()
            except TimeoutError:
                pass  # what does not close in time goes with the process


class Generation:
    """One configuration at work. Requests hold it while they run."""

    def __init__(self, number: int, configuration: Configuration, opened: Mapping[str, Opened], recognizer: Recognizer) -> None:
        self.number = number
        self.configuration = configuration
        self.opened = opened
        self.recognizer = recognizer
        self.requests = 0
        self.idle = asyncio.Event()
        self.idle.set()
        for each in opened.values():
            each.holders += 1

    async def aclose(self) -> None:
        """Waits for its requests, then lets its providers go."""
        await self.idle.wait()
        await asyncio.gather(*(route.stack.aclose() for route in self.recognizer.routes.values()))
        await asyncio.gather(*(each.release() for each in self.opened.values()))


class Runtime:
    """The running sidecar's inside: an async context manager that opens a configuration and ends all of it.

    provider_type: name to class (discovery). observer: hears every event. place: this is one of several workers, and has its part of the
    limits. secrets: is told of those of the configuration and of tokens.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        provider_type: ProviderFactory,
        observer: Observer,
        place: Place | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self.began: Final = time.monotonic()
        self._ledger: Final = Ledger(configuration.server.state, announce=observer, worker=None if place is None else place.index)
        self.announce: Final[Observer] = self._heard
        self._observer = observer
        self.traces: Final = Traces(None if configuration.tracing is None else configuration.tracing.sample)
        self.draining = False
        self._opened = False
        self.live_sessions = 0
        self.ending: Final = asyncio.Event()
        """Set when the drain limit is near: what has no end of its own, as a live session, is to end now."""
        self.drain: Final = DrainLimit()
        self.place: Final = place
        self.secrets: Final = secrets or Secrets()
        self._take(configuration)
        self._first = configuration
        self._provider_type = provider_type
        self._stack = AsyncExitStack()
        self._retired: set[Generation] = set()
        self._most = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._current: Generation
        self.fleet: Fleet | None = None
        """What is shared with the other sidecars of the account, where `shared` is set."""
        audio = configuration.server.audio
        self.decoders = Decoders(
            decoder=audio.decoder,
            workers=_decoders(audio.workers, place),
            idle=audio.idle,
            timeout=audio.timeout,
            memory=audio.memory,
            announce=observer,
        )

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.decoders.aclose)
        try:
            if self._first.shared is not None:
                from asrproxy.fleet.fleet import Fleet
                from asrproxy.fleet.redis import redis_ground

                self.fleet = await self._stack.enter_async_context(Fleet(await redis_ground(self._first.shared), announce=self.announce))
            elif self.place is not None:
                from asrproxy.fleet.fleet import Fleet
                from asrproxy.fleet.together import together_ground

                self.fleet = await self._stack.enter_async_context(Fleet(together_ground(self.place.keeper), announce=self.announce))
            await self._stack.enter_async_context(self._ledger.opened(self.fleet))
            self._current = await self._open(1, self._first, {})
            self._opened = True
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for generation in (self._current, *self._retired):
            generation.idle.set()  # whoever is still at work has used up the drain limit
        await asyncio.gather(*self._retiring, self._current.aclose())
        await self._stack.aclose()

    @property
    def current(self) -> Generation:
        """The newest generation, for looking at; a request uses `generation`."""
        return self._current

    @contextmanager
    def generation(self) -> Iterator[Generation]:
        """The newest generation, held until the request ends, whatever is reloaded meanwhile."""
        held = self._current
        held.requests += 1
        self._most = max(self._most, self.in_flight)
        held.idle.clear()
        try:
            yield held
        finally:
            held.requests -= 1
            if held.requests == 0:
                held.idle.set()

    @contextmanager
    def live_session(self) -> Iterator[None]:
        """Counts a session of live audio while it lasts."""
        self.live_sessions += 1
        try:
            yield
        finally:
            self.live_sessions -= 1

    def figures(self) -> Figures:
        """Everything that can be read of it now."""
        generation = self._current
        return Figures(
            ready=self.ready() is None,
            generation=generation.number,
            in_flight=self.in_flight,
            live_sessions=self.live_sessions,
            decoders=self.decoders.figures(),
            providers={name: each.figures() for name, each in generation.opened.items()},
            fleet=None if self.fleet is None else self.fleet.figures(),
            budgets=self._ledger.figures(),
        )

    async def reload(self, configuration: Configuration) -> None:
        """Takes a checked configuration for new requests. Providers whose entry is unchanged go on, with their connections and circuits;
        new ones have `AWAKE` seconds to get ready (a token, a model), in which requests go on as before.

        Raises ConfigError, and the old one stays: `server.listen` and `server.ops_listen` need a restart.
        """
        old = self._current
        for key in ("listen", "ops_listen", "audio", "uvloop", "state", "workers"):
            if getattr(configuration.server, key) != getattr(self.server, key):
                raise ConfigError(f"server.{key} changed: that needs a restart")
        for key in ("shared", "tracing"):
            if getattr(configuration, key) != getattr(self._first, key):
                raise ConfigError(f"{key} changed: that needs a restart")
        new = await self._open(old.number + 1, configuration, old.opened)
        try:
            await _awake([each for name, each in new.opened.items() if old.opened.get(name) is not each])
        except BaseException:
            await new.aclose()
            raise
        self._current = new
        self._take(configuration)
        self._retired.add(old)
        self._ledger.keep(configuration.budgets())
        task = asyncio.create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self.announce(ConfigReloaded(new.number, None, configuration.accounts(), frozenset(new.opened)))

    @property
    def in_flight(self) -> int:
        """Requests being worked on, of every generation."""
        return self._current.requests + sum(each.requests for each in self._retired)

    def most_in_flight(self) -> int:
        """The most requests that were worked on at once since this was last called."""
        most, self._most = self._most, self.in_flight
        return most

    async def drained(self) -> None:
        """Returns when no request is being worked on."""
        while self.in_flight:
            await asyncio.gather(*(each.idle.wait() for each in (self._current, *self._retired)))

    def ready(self) -> str | None:
        """None when the default route can answer, else the reason why not."""
        if self.draining:
            return "draining"
        if not self._opened:
            return "starting: " + ", ".join(self._first.providers)
        routes = self._current.recognizer.routes
        route = routes.get(DEFAULT_ROUTE) or next(iter(routes.values()))
        reasons = []
        for member in route.stack.members:
            # Its own word and not the route's: a budget that is used up is no reason to take the pod out of service.
            health = self._current.opened[member.name].stack.available()
            if health.ready:
                return None
            reasons.append(f"{member.name}: {health.reason}")
        return "; ".join(reasons)

    def _heard(self, event: Event) -> None:
        """An event: money that a call has cost is spent before anybody else hears of it."""
        if isinstance(event, AttemptEnded) and event.charge is not None:
            self._ledger.charged(event.route, event.charge)
        self._observer(event)

    def _take(self, configuration: Configuration) -> None:
        self.secrets.take(configuration)
        self.log: LogSettings = configuration.log
        server = self.server = configuration.server
        self.tokens: tuple[bytes, ...] = tuple(token.get_secret_value().encode() for token in server.tokens)

    async def _retire(self, generation: Generation) -> None:
        try:
            await generation.aclose()
        finally:
            self._retired.discard(generation)

    async def _open(self, number: int, configuration: Configuration, running: Mapping[str, Opened]) -> Generation:
        opened: dict[str, Opened] = {}
        started: list[Opened] = []
        try:
            for name, entry in configuration.providers.items():
                old = running.get(name)
                if old is not None and old.entry == entry:
                    opened[name] = old
                else:
                    opened[name] = await self._start(name, entry)
                    started.append(opened[name])
        except BaseException:
            for each in started:
                each.holders = 1
                await each.release()
            raise
        routes = {name: self._route(name, settings, opened) for name, settings in configuration.every_route().items()}
        remember = configuration.policy.long_audio.remember
        memory = self._current.recognizer.memory.under(remember) if running else SegmentMemory(remember)
        recognizer = Recognizer(
            routes=routes, decoders=self.decoders, max_audio=configuration.server.max_audio, memory=memory, drain=self.drain
        )
        return Generation(number, configuration, opened, recognizer)

    async def _start(self, name: str, entry: ProviderEntry) -> Opened:
        provider = self._made(name, entry.type, entry.settings)
        try:
            async with asyncio.timeout(START):
                await provider.start()
        except TimeoutError as error:
            await provider.aclose()
            raise ConfigError(f"providers.{name} did not start within {START:g} s") from error
        except BaseException:
            await provider.aclose()
            raise
        rate = self._shared_rate(name, entry)
        observer = self.announce if rate is None else self._warning_others(name, entry, rate)
        policy = entry.policy if self.place is None else part_of(entry.policy, self.place.of)
        stack = ProviderStack(
            name,
            provider,
            policy,
            observer=observer,
            convert=self.decoders.convert,
            random=random.Random(),
            rate=rate,
            price=entry.price,
        )
        if rate is not None:
            rate.warned = stack.warn
        return Opened(entry, provider, stack, None if self.fleet is None or rate is None else partial(self.fleet.drop, rate))

    def _shared_rate(self, name: str, entry: ProviderEntry) -> SharedRate | None:
        limits = entry.policy.limits
        return None if self.fleet is None or limits.rate is None else self.fleet.rate(name, rate=limits.rate, burst=limits.burst)

    def _warning_others(self, name: str, entry: ProviderEntry, rate: SharedRate) -> Observer:
        """Announces, and tells the fleet when this provider's circuit opens."""

        def announce(event: Event) -> None:
            self.announce(event)
            if isinstance(event, CircuitChanged) and event.name == name and event.after == "open":
                rate.opened(entry.policy.circuit.reset)

        return announce

    def _made(self, name: str, type_name: str, settings: ProviderSettings) -> Provider:
        tokens = self.fleet.tokens if self.fleet is not None else None
        return self._provider_type(type_name)(
            settings,
            Host(name=name, announce=self.announce, tokens=tokens, provider_type=self._provider_type, conceal=self.secrets.add),
        )

    def _route(self, name: str, settings: RouteSettings, opened: Mapping[str, Opened]) -> Route:
        members = [opened[each] for each in settings.providers]
        stack = RouteStack(
            name,
            [each.stack for each in members],
            settings.hedge,
            observer=self.announce,
            random=random.Random(),
            spending=None if settings.budget is None else self._spending(name, settings.budget, members),
            split=None if settings.split is None else Split(route=name, shares=settings.split, by=settings.split_by),
            shadow=None if settings.shadow is None else self._shadow(name, settings.shadow, opened[settings.shadow.provider]),
        )
        policy = members[0].entry.policy
        return Route(stack, policy.timeout, policy.long_audio)

    def _spending(self, account: str, settings: BudgetSettings, members: Sequence[Opened]) -> Spending:
        currency = next(each.stack.currency for each in members if each.stack.currency is not None)
        return self._ledger.spending(account, settings, currency)

    def _shadow(self, route: str, settings: ShadowSettings, other: Opened) -> Shadow:
        member: Member = other.stack
        if settings.budget is not None:
            member = Metered(member, self._spending(route + SHADOW_ROUTE, settings.budget, [other]), observer=self.announce)

        def differ(first: str, second: str) -> tuple[int, int]:
            found = difference(first, second)
            return found.edits, found.tokens

        return Shadow(
            route=route, provider=other.stack.name, call=member.call, settings=settings, differ=differ, random=random.Random(),
            observer=self.announce,
        )  # fmt: skip


def _decoders(wanted: int, place: Place | None) -> int:
    """Decoder processes of this worker: one a core between all workers, where the configuration does not say."""
    return max(1, cores() // place.of) if place is not None and not wanted else wanted


async def _awake(new: Sequence[Opened]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(AWAKE):
            while not all(each.stack.available().ready for each in new):  # noqa: ASYNC110 -- a provider's health announces nothing
                await asyncio.sleep(0.02)

"""Which provider is asked, when the next one is, and what the caller hears when none answers."""

from __future__ import annotations

import asyncio

import pytest

from asrproxy.events import FailedOver
from asrproxy.plugin import (
    AsrError,
    AttemptTimeout,
    AudioFormat,
    Capabilities,
    CircuitOpen,
    DeadlineExceeded,
    Health,
    NotReady,
    Options,
    RateLimited,
    Recognition,
    Refused,
    Rejected,
    Throttled,
    Truncated,
    Unavailable,
    Unreachable,
    UnsupportedParameter,
)
from tests.policy.policy_world import NARROW, WIDE, Heard, Vendor, context, outcome, policy, route, speech, stack, virtual_time

ONCE = {"attempts": 1}


def two(first: Vendor, second: Vendor, heard: Heard | None = None, **keys: object):  # type: ignore[no-untyped-def]
    settings = policy(**{"retries": ONCE, **keys})
    return route(stack(first, settings, name="a", observer=heard), stack(second, settings, name="b", observer=heard), observer=heard)


@pytest.mark.parametrize(
    "error",
    [Unavailable("5xx"), Unreachable("reset"), Throttled("429"), Refused("key"), Rejected("audio"), NotReady("loading"), Truncated("t")],
    ids=lambda error: type(error).__name__,
)
def test_what_another_vendor_might_do_better_moves_on(error: Exception) -> None:
    @virtual_time
    async def story() -> None:
        heard = Heard()
        told = context()
        recognition = await two(Vendor(errors=[error]), Vendor(text="second"), heard).call(speech(), told)
        assert recognition == Recognition("second", provider="b")
        assert [(record.provider, record.outcome) for record in told.trail.records] == [("a", "failed"), ("b", "ok")]
        assert heard.of(FailedOver) == [FailedOver("r", "default", "a", "b", error)]

    story()


@virtual_time
async def test_a_plugins_defect_does_not_keep_the_next_from_answering() -> None:
    assert await outcome(two(Vendor(errors=[KeyError("result")]), Vendor(text="second")).call(speech(), context())) == "second"


@virtual_time
async def test_who_cannot_do_what_is_asked_is_passed_over_with_the_reason() -> None:
    english = Vendor(capabilities=Capabilities(languages=frozenset({"en"}), options=frozenset({"words"})))
    short = Vendor(capabilities=Capabilities(longest=10, options=frozenset({"words"})))
    plain = Vendor()
    able = Vendor(text="able", capabilities=Capabilities(options=frozenset({"words", "itn"})))
    told = context(options=Options(language="zh-CN", words=True))

    recognition = await route(*(stack(each, name=name) for name, each in zip("abcd", (english, short, plain, able), strict=True))).call(
        speech(30), told
    )

    assert recognition.provider == "d"
    assert [(record.provider, record.outcome, record.reason) for record in told.trail.records[:3]] == [
        ("a", "skipped", "does not recognise zh-CN"),
        ("b", "skipped", "takes at most 10 s of audio"),
        ("c", "skipped", "cannot honour words"),
    ]
    assert told.trail.calls() == 1


@virtual_time
async def test_an_open_circuit_and_a_provider_that_is_not_ready_cost_no_time() -> None:
    first, second = Vendor(errors=[Unavailable("down")] * 5), Vendor(text="second")
    tried = two(first, second)
    for _ in range(5):
        await tried.call(speech(), context())
    told, before = context(), asyncio.get_running_loop().time()

    await tried.call(speech(), told)

    assert asyncio.get_running_loop().time() - before == pytest.approx(0.1)
    assert [(record.provider, record.outcome) for record in told.trail.records] == [("a", "skipped"), ("b", "ok")]
    assert told.trail.records[0].reason.startswith("circuit open")  # type: ignore[union-attr]
    loading = Vendor(state=Health(ready=False, reason="loading a model"))
    assert await outcome(two(loading, second).call(speech(), context())) == "second"
    assert loading.calls == []


@virtual_time
async def test_when_nobody_says_that_he_can_they_are_asked_all_the_same() -> None:
    loading = Health(ready=False, reason="loading a model")
    assert await outcome(two(Vendor(state=loading), Vendor(state=loading)).call(speech(), context())) == "text"


@virtual_time
async def test_who_was_not_ready_is_asked_after_all_when_the_others_have_failed() -> None:
    waking = Vendor(text="awake by now", state=Health(ready=False, reason="waiting for the first token"))
    told = context()
    assert (await two(waking, Vendor(errors=[Unavailable("down")] * 9)).call(speech(), told)).text == "awake by now"
    assert [(record.provider, record.outcome) for record in told.trail.records] == [("a", "skipped"), ("b", "failed"), ("a", "ok")]


@virtual_time
async def test_our_own_limit_at_one_provider_moves_on_and_is_no_call() -> None:
    first, second = Vendor(takes=10), Vendor(text="second")
    limits = {"concurrency": 1, "queue": 0}
    tried = route(stack(first, policy(limits=limits), name="a"), stack(second, name="b"))
    busy = asyncio.ensure_future(tried.call(speech(), context()))
    await asyncio.sleep(0)
    told = context()
    assert (await tried.call(speech(), told)).text == "second"
    assert [(record.outcome, record.code) for record in told.trail.records] == [("skipped", "rate_limited"), ("ok", None)]
    await busy


@pytest.mark.parametrize("timeout", [4.0, 10.0, 60.0])
def test_a_silent_first_provider_leaves_the_second_its_time(timeout: float) -> None:
    @virtual_time
    async def story() -> None:
        silent, second = Vendor(takes=1e6), Vendor(takes=1.5, text="second")
        tried = route(stack(silent, name="a"), stack(second, name="b"))
        assert await outcome(tried.call(speech(), context(timeout))) == "second"
        assert silent.in_flight == 0

    story()


@virtual_time
async def test_a_provider_alone_may_use_all_of_the_time() -> None:
    assert await outcome(route(stack(Vendor(takes=9))).call(speech(), context(10))) == "text"


@virtual_time
async def test_a_long_pause_is_not_made_while_another_provider_could_answer() -> None:
    throttled = Throttled("429", retry_after=20)
    tried = route(stack(Vendor(errors=[throttled]), name="a"), stack(Vendor(text="second"), name="b"))
    assert await outcome(tried.call(speech(), context())) == "second"
    assert asyncio.get_running_loop().time() < 1001
    alone = route(stack(Vendor(errors=[throttled])))
    assert await outcome(alone.call(speech(), context())) == "text"


@pytest.mark.parametrize(
    ("first", "second", "kind", "retry_after"),
    [
        (Throttled("slow down", retry_after=7), Throttled("slow down", retry_after=4), Throttled, 4),
        (Throttled("slow down", retry_after=7), Unavailable("down"), Unavailable, 7),
        (Refused("key"), Throttled("slow down"), Throttled, None),
        (Rejected("audio"), Refused("key"), Refused, None),
        (Rejected("audio"), Rejected("audio"), Rejected, None),
        (NotReady("loading"), Rejected("audio"), Rejected, None),
        (Refused("key"), Unreachable("reset"), Unreachable, None),
    ],
    ids=lambda value: getattr(type(value), "__name__", None) if isinstance(value, AsrError) else None,
)
def test_the_last_error_tells_what_each_answered(
    first: AsrError, second: AsrError, kind: type[AsrError], retry_after: float | None
) -> None:
    @virtual_time
    async def story() -> None:
        error = await outcome(two(Vendor(errors=[first]), Vendor(errors=[second])).call(speech(), context()))
        assert type(error) is kind
        assert error.message == f"no provider of route 'default' could answer: a: {first}; b: {second}"
        assert error.retry_after == retry_after
        assert str(error) == error.message

    story()


@virtual_time
async def test_the_error_of_a_provider_alone_is_its_own() -> None:
    error = Unavailable("down", vendor_code=50000001, retry_after=3)
    told = await outcome(route(stack(Vendor(errors=[error]), policy(retries=ONCE), name="a")).call(speech(), context()))
    assert told is error
    assert told.provider == "a"


@virtual_time
async def test_all_circuits_open_is_circuit_open_with_the_earliest_reset() -> None:
    down = [Unavailable("down")] * 5
    tried = two(Vendor(errors=down), Vendor(errors=down))
    for _ in range(5):
        await outcome(tried.call(speech(), context()))
        await asyncio.sleep(1)
    error = await outcome(tried.call(speech(), context()))
    assert isinstance(error, CircuitOpen)
    assert 50 < (error.retry_after or 0) < 60


@virtual_time
async def test_when_the_callers_time_is_over_that_is_what_he_hears_and_nobody_else_is_asked() -> None:
    first, second, third = Vendor(takes=1e6), Vendor(takes=1e6), Vendor()
    members = (stack(each, name=name) for name, each in zip("abc", (first, second, third), strict=True))
    third.takes = 1e6
    error = await outcome(route(*members).call(speech(), context(8)))
    assert isinstance(error, DeadlineExceeded)
    assert asyncio.get_running_loop().time() == pytest.approx(1008)
    assert first.in_flight == second.in_flight == third.in_flight == 0


@virtual_time
async def test_a_text_too_short_is_better_than_none_and_the_longest_is_best() -> None:
    tried = two(Vendor(errors=[Truncated("short", text="te")]), Vendor(errors=[Truncated("short", text="tex")]))
    assert await tried.call(speech(), context()) == Recognition("tex", provider="b", suspect=True)
    tried = two(Vendor(errors=[Truncated("short", text="te")]), Vendor(errors=[Unavailable("down")]))
    assert await tried.call(speech(), context()) == Recognition("te", provider="a", suspect=True)


@virtual_time
async def test_audio_is_converted_once_for_a_provider_that_takes_another_format() -> None:
    conversions: list[AudioFormat] = []

    async def convert(utterance, target):  # type: ignore[no-untyped-def]
        conversions.append(target)
        return speech(utterance.duration, target)

    first = Vendor(errors=[AttemptTimeout("slow")] * 9)
    second = Vendor(errors=[Unavailable("down")] * 2, capabilities=Capabilities(formats=(NARROW, AudioFormat(11_025))))
    members = [stack(first, name="a"), stack(second, name="b", convert=convert)]
    assert (await route(*members).call(speech(), context())).provider == "b"
    assert conversions == [NARROW]
    assert [utterance.format for utterance, _ in second.heard] == [NARROW] * 3


@virtual_time
async def test_nothing_is_converted_for_an_open_circuit() -> None:
    second = Vendor(errors=[Unavailable("down")] * 5, capabilities=Capabilities(formats=(NARROW,)))
    tried = stack(second, policy(retries=ONCE))  # its converter fails the test
    for _ in range(5):
        await outcome(tried.call(speech(format=NARROW), context()))
    assert isinstance(await outcome(tried.call(speech(format=WIDE), context())), CircuitOpen)


@virtual_time
async def test_a_converter_that_never_ends_does_not_outlast_the_deadline() -> None:
    async def never(*_: object):  # type: ignore[no-untyped-def]
        await asyncio.sleep(1e6)

    tried = stack(Vendor(capabilities=Capabilities(formats=(NARROW,))), convert=never)
    assert isinstance(await outcome(tried.call(speech(), context(5))), DeadlineExceeded)
    assert asyncio.get_running_loop().time() == pytest.approx(1005)


def test_a_route_can_do_what_its_providers_can_between_them() -> None:
    first = Vendor(capabilities=Capabilities(longest=60, options=frozenset({"itn"}), languages=frozenset({"zh"}), concurrency=200))
    second = Vendor(
        capabilities=Capabilities(
            longest=30, formats=(NARROW,), options=frozenset({"words"}), languages=frozenset({"en"}), concurrency=2, streaming=True
        )
    )
    both = route(stack(first, name="a"), stack(second, name="b"))

    assert both.capabilities == Capabilities(
        longest=30, formats=(WIDE,), options=frozenset({"itn", "words"}), languages=frozenset({"zh", "en"}), streaming=True, concurrency=202
    )
    assert both.capabilities_for(Options(itn=True)).longest == 60
    assert both.capabilities_for(Options(words=True)).formats == (NARROW,)
    assert route(stack(Vendor()), stack(first)).capabilities.languages is None


def test_a_parameter_that_no_provider_has_is_named_before_any_work() -> None:
    first = Vendor(capabilities=Capabilities(options=frozenset({"itn"}), languages=frozenset({"zh"})))
    second = Vendor(capabilities=Capabilities(options=frozenset({"words"}), languages=frozenset({"en"})))
    both = route(stack(first, name="a"), stack(second, name="b"))

    assert both.unsupported(Options()) is None
    assert both.unsupported(Options(language="en-GB", words=True)) is None
    assert both.unsupported(Options(prompt="names")) == "prompt"
    assert both.unsupported(Options(language="fr")) == "language"
    assert both.unsupported(Options(words=True, itn=True)) in {"words", "itn"}


@virtual_time
async def test_a_route_asked_for_what_nobody_has_makes_no_call() -> None:
    vendor = Vendor()
    error = await outcome(route(stack(vendor)).call(speech(), context(options=Options(words=True))))
    assert isinstance(error, UnsupportedParameter)
    assert vendor.calls == []


@virtual_time
async def test_a_provider_whose_queue_is_full_says_so_when_it_is_alone() -> None:
    tried = route(stack(Vendor(takes=10), policy(limits={"concurrency": 1, "queue": 0})))
    busy = asyncio.ensure_future(tried.call(speech(), context()))
    await asyncio.sleep(0)
    assert isinstance(await outcome(tried.call(speech(), context())), RateLimited)
    await busy

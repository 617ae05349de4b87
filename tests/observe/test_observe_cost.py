"""What a call cost is told with its answer, counted, and held to its route's budget."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.config.load import loads
from asrproxy.config.models import BudgetSettings, Configuration, PriceSettings
from asrproxy.discovery import provider_type
from asrproxy.errors import ConfigError
from asrproxy.events import BudgetReached, Event
from asrproxy.fleet import spending as shared
from asrproxy.fleet.store import Store
from asrproxy.policy.price import charge
from asrproxy.policy.spending import Spending
from asrproxy.testing import tones
from tests.fleet.conftest import redis  # noqa: F401 -- the server, as the fleet's own tests have it
from tests.fleet.serving import Server
from tests.observe.scraping import scrape
from tests.recognize.conftest import Client, Start

TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
SECONDS = len(WAV[44:]) / 32_000
SERVER = 'server: {{listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"], callers: [web]{more}}}\n'
QUICK = "policy: {retries: {attempts: 2, backoff: {initial: 1ms, max: 1ms}}}\n"
PRICE = "price: {per_call: 0.5, currency: CNY}"


def written(providers: str, routes: str, *, more: str = "", rest: str = QUICK) -> str:
    return SERVER.format(more=more) + f"providers:\n{providers}routes: {{default: {routes}}}\n{rest}"


def configured(text: str) -> Configuration:
    return loads(text, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)


BUDGETED = written(f"  paid: {{type: fake, {PRICE}}}\n  free: {{type: fake}}\n", "{providers: [paid], budget: {day: 1, warn: 0.5}}")


async def test_an_answer_says_what_it_cost_and_the_metrics_whose_it_was(start: Start) -> None:
    providers = "  paid: {type: fake, price: {per_call: 0.01, per_minute: 6, currency: CNY, rounding: 2s}}\n"
    async with start(written(providers, "{providers: [paid]}")) as client:
        _, body = await client.post(WAV, headers={"X-Caller": "web"})
        _, other = await client.post(WAV)
        found = await scrape(client)
    billed = -(-SECONDS // 2) * 2
    cost = 0.01 + 6 * billed / 60
    assert body["cost"] == other["cost"] == {"CNY": pytest.approx(cost)}
    assert body["attempts"][0]["cost"] == body["cost"]
    assert found("asrproxy_cost_total", provider="paid", route="default", caller="web", currency="CNY") == pytest.approx(cost)
    assert found("asrproxy_cost_total") == pytest.approx(2 * cost)
    assert found("asrproxy_billed_audio_seconds_total", provider="paid") == pytest.approx(2 * billed)


async def test_without_a_price_nothing_is_said_about_costs(client: Client) -> None:
    _, body = await client.post(WAV)
    assert "cost" not in body
    assert not (await scrape(client)).samples("asrproxy_cost_total")


async def test_failed_calls_cost_nothing_and_every_answered_one_does(start: Start) -> None:
    script = "script: [{error: unavailable}, {error: truncated}, {}, {error: unavailable}, {error: unavailable}]"
    providers = f"  paid: {{type: fake, {PRICE}, {script}}}\n  dollars: {{type: fake, price: {{per_call: 2, currency: USD}}}}\n"
    async with start(written(providers, "{providers: [paid, dollars]}", rest=QUICK.replace("2,", "3,"))) as client:
        _, body = await client.post(WAV)
        assert [record["outcome"] for record in body["attempts"]] == ["failed", "failed", "ok"]
        assert body["cost"] == {"CNY": 1.0, "USD": 0.0}  # a text that is too short has been paid for
        _, body = await client.post(WAV, route="paid")
        assert [record["outcome"] for record in body["attempts"]] == ["failed", "failed", "ok"]
        assert body["cost"] == {"CNY": 0.5}


async def test_events_and_live_sessions_tell_costs_too(start: Start) -> None:
    providers = "  paid: {type: fake, price: {per_minute: 60, currency: CNY, rounding: 0}}\n"
    async with start(written(providers, "{providers: [paid]}")) as client:
        _, text = await client.post(WAV, stream="true")
        result = json.loads(text.rpartition("event: result\ndata: ")[2].strip())
        assert result["cost"] == {"CNY": pytest.approx(SECONDS)}
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            await socket.send_bytes(WAV[44:])
            await socket.send_json({"type": "stop"})
            while (await socket.receive_json())["type"] != "done":
                pass
        while not (live := [event for event in client.events if getattr(event, "live", False)]):
            await asyncio.sleep(0.01)
        assert live[0].cost == {"CNY": pytest.approx(SECONDS, rel=0.2)}


async def test_a_budget_that_is_used_up_is_an_honest_429_and_other_routes_go_on(start: Start) -> None:
    async with start(BUDGETED) as client:
        for _ in range(2):
            answer, _ = await client.post(WAV)
            assert answer.status == 200
        before = time.time()
        answer, body = await client.post(WAV)
        midnight = (int(before) // 86_400 + 1) * 86_400
        assert (answer.status, body["error"]["code"]) == (429, "rate_limited")
        assert "budget" in body["error"]["message"]
        assert midnight - time.time() - 2 <= int(answer.headers["Retry-After"]) <= midnight - before + 2
        assert [event.share for event in client.events if isinstance(event, BudgetReached)] == [0.5, 1.0]
        answer, _ = await client.post(WAV, route="free")
        assert answer.status == 200
        _, status = await client.get("/v1/status")
        assert status["routes"]["default"]["budget"]["day"] | {"ends_in": 0} == {
            "spent": 1.0,
            "limit": 1.0,
            "currency": "CNY",
            "ends_in": 0,
        }
        assert status["routes"]["free"]["budget"] is None
        assert status["ready"]
        found = await scrape(client)
        assert found("asrproxy_budget_spent", route="default", period="day", currency="CNY") == 1
        assert found("asrproxy_budget_limit", route="default", period="day", currency="CNY") == 1
        assert found("asrproxy_budget_refusals_total", route="default", provider="paid", period="day") == 1


async def test_a_provider_that_costs_nothing_answers_when_the_money_is_spent(start: Start) -> None:
    providers = f"  paid: {{type: fake, {PRICE}}}\n  free: {{type: fake}}\n"
    async with start(written(providers, "{providers: [paid, free], budget: {day: 1}}")) as client:
        answered = [(await client.post(WAV))[1] for _ in range(4)]
    assert [body["provider"] for body in answered] == ["paid", "paid", "free", "free"]
    assert "budget" in answered[-1]["attempts"][0]["reason"]
    assert answered[-1]["cost"] == {"CNY": 0.0}


async def test_a_live_session_needs_money_too(start: Start) -> None:
    async with start(BUDGETED) as client:
        for _ in range(2):
            await client.post(WAV)
        async with client.session.ws_connect(client.sidecar.url + "/v1/stream") as socket:
            await socket.send_json({"type": "start", "sample_rate": 16_000})
            told: list[dict[str, Any]] = [await socket.receive_json() for _ in range(2)]
    assert told[1]["error"]["code"] == "rate_limited"


async def test_a_reload_keeps_what_was_spent_and_takes_a_raised_budget_at_once(start: Start) -> None:
    async with start(BUDGETED) as client:
        for _ in range(2):
            await client.post(WAV)
        runtime = client.sidecar.runtime
        await runtime.reload(configured(BUDGETED.replace("warn: 0.5", "warn: 0.9")))
        assert (await client.post(WAV))[0].status == 429
        await runtime.reload(configured(BUDGETED.replace("day: 1", "day: 1.5")))
        assert [(await client.post(WAV))[0].status for _ in range(2)] == [200, 429]
        await runtime.reload(configured(BUDGETED.replace(", budget: {day: 1, warn: 0.5}", "")))
        assert (await client.post(WAV))[0].status == 200
        assert not (await scrape(client)).samples("asrproxy_budget_spent")


async def test_a_restart_keeps_what_was_spent_where_a_folder_is_named(start: Start, tmp_path: Path) -> None:
    text = BUDGETED.replace("callers:", f"state: {tmp_path / 'state'}, callers:")
    async with start(text) as client:
        await client.post(WAV)
    async with start(text) as client:
        assert [(await client.post(WAV))[0].status for _ in range(2)] == [200, 429]
    (tmp_path / "state" / "spending.json").write_text("not what it was")
    async with start(text) as client:  # noted, and nobody is refused for it
        assert (await client.post(WAV))[0].status == 200
        assert any(getattr(event, "event", "") == "what was spent cannot be read" for event in client.events)


@asynccontextmanager
async def sharing(start: Start, url: str):  # type: ignore[no-untyped-def]
    text = BUDGETED.replace("day: 1", "day: 3") + f"shared: {{redis: '{url}'}}\n"
    async with start(text) as one, start(text) as other:
        yield one, other


async def spent(client: Client) -> float:
    return (await scrape(client))("asrproxy_budget_spent", period="day")


async def test_sidecars_share_a_budget_through_redis_and_no_request_fails_without_it(start: Start, redis: Server) -> None:  # noqa: F811
    async with sharing(start, redis.url) as (one, other):
        for _ in range(2):
            assert (await one.post(WAV))[0].status == 200
            assert (await other.post(WAV))[0].status == 200
        while not await spent(one) == await spent(other) == 2.0:
            await asyncio.sleep(0.02)
        await redis.stop()
        # Each takes the other to spend as much as itself: of the last 1.0 it has a half.
        statuses = [(await one.post(WAV))[0].status for _ in range(3)]
        assert statuses[0] == 200
        assert set(statuses) <= {200, 429}
        await redis.start()
        while await spent(one) != 0.5 * (4 + statuses.count(200)):  # a new Redis is told what each has spent itself
            await asyncio.sleep(0.02)
    async with start(BUDGETED.replace("day: 1", "day: 3") + f"shared: {{redis: '{redis.url}'}}\n") as third:
        while await spent(third) < 2.5:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("providers", "said"),
    [
        ("  paid: {type: fake}\n", "none of them has one"),
        ("  paid: {type: fake, price: {currency: CNY}}\n", "none of them has one"),
        (f"  paid: {{type: fake, {PRICE}}}\n  free: {{type: fake, price: {{currency: USD, per_call: 1}}}}\n", "CNY and USD"),
    ],
)
def test_a_budget_without_one_currency_is_refused_with_its_place(providers: str, said: str) -> None:
    names = "[paid, free]" if "free" in providers else "[paid]"
    with pytest.raises(ConfigError, match=r"test\.yaml:\d+: routes\.default\.budget: ") as refusal:
        configured(written(providers, f"{{providers: {names}, budget: {{day: 1}}}}"))
    assert said in str(refusal.value)


@settings(deadline=None)
@given(seconds=st.floats(0, 20_000), step=st.sampled_from([0.0, 0.1, 1.0, 15.0, 60.0]))
def test_audio_is_charged_in_whole_steps_and_never_for_less_than_there_was(seconds: float, step: float) -> None:
    found = charge(PriceSettings(per_call=1, per_minute=60, currency="CNY", rounding=step), seconds)
    assert seconds - 1e-3 <= found.seconds < seconds + step + 1e-3
    assert not step or found.seconds / step == pytest.approx(round(found.seconds / step), abs=1e-6)
    assert found.amount == pytest.approx(1 + found.seconds)


class Wall:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_706_745_599.0  # 2024-01-31, a second before midnight

    def __call__(self) -> float:
        return self.now


def test_a_new_day_has_new_money_and_a_new_month_too() -> None:
    wall, heard = Wall(), list[Event]()
    spending = Spending(route="default", settings=BudgetSettings(day=1, month=2.5), currency="CNY", observer=heard.append, clock=wall)
    spending.add(1)
    assert spending.refusal() == ("day", 1.0)
    wall.now += 1  # 2024-02-01
    assert spending.refusal() is None
    for day in range(2):
        spending.add(1)
        assert spending.refusal() == ("day", 86_400.0)
        wall.now += 86_400
        assert spending.refusal() is None, day
    spending.add(0.5)
    assert spending.refusal() == ("month", 27 * 86_400.0)
    wall.now += 27 * 86_400  # 2024-03-01
    assert spending.refusal() is None
    assert [(event.period, event.share) for event in heard if isinstance(event, BudgetReached)].count(("month", 1.0)) == 1


Say = tuple[int, float, bool]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100), st.booleans()), max_size=40))
def test_however_many_answers_are_lost_nothing_is_counted_twice(says: list[Say]) -> None:
    """Three sidecars spend and tell; an answer that is lost was still taken in."""
    wall = Wall()
    store = Store(wall)
    sidecars = [
        Spending(route="r", settings=BudgetSettings(day=1e9), currency="CNY", observer=lambda event: None, clock=wall) for _ in range(3)
    ]

    def tell(which: int, *, lost: bool) -> None:
        own = sidecars[which].own()
        arguments: list[str | bytes | int | float] = [f"{which:x}", 15e6]
        for _, amount, base, left in own:
            arguments += [repr(amount), repr(base), left * 1000]
        answer = store.run(shared.ASK, ["s", *(period for period, *_ in own)], arguments)
        assert isinstance(answer, list)
        if not lost:
            told = [(period, amount, float(total)) for (period, amount, *_), total in zip(own, answer[1:], strict=True)]
            sidecars[which].heard(told, int(answer[0]))

    for which, amount, lost in says:
        sidecars[which].add(amount)
        tell(which, lost=lost)
    for which in (0, 1, 2):
        tell(which, lost=False)
    for each in sidecars:
        assert each.figures()[0].spent <= sum(amount for _, amount, _ in says) + 1e-6
    assert sidecars[2].figures()[0].spent == pytest.approx(sum(amount for _, amount, _ in says))

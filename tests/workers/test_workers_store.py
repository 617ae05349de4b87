"""What the workers share in memory answers as Redis does, and over its socket too."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asrproxy.fleet import rate, spending, token
from asrproxy.fleet.redis import RedisScripts
from asrproxy.fleet.scripts import Away
from asrproxy.fleet.store import Store
from asrproxy.fleet.together import Keeper, TogetherScripts, together_ground
from asrproxy.plugin import Credential
from tests.fleet.conftest import redis  # noqa: F401 -- the server, as the fleet's own tests have it
from tests.fleet.serving import Server, Sidecar, most_over, permits

RATE_KEYS = ["r", "r:sidecars", "r:open"]
TOKEN_KEYS = ["t", "t:lock"]
SPENDING_KEYS = ["s:sidecars", "s:day", "s:month"]

Step = tuple[str, list[str], list[str | bytes | int | float]]

_MONEY = st.floats(0, 1e6).map(repr)
_OWNER = st.sampled_from("ab")
_MARK = st.sampled_from(["m1", "m2"])
_LIFE = st.sampled_from([3_600_000, 7_200_000])
_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just(token.ASK), st.just(TOKEN_KEYS), st.tuples(_OWNER, _MARK | st.just(""), st.just(900_000)).map(list)),
    st.tuples(st.just(token.KEEP), st.just(TOKEN_KEYS), st.tuples(_OWNER, st.sampled_from([b"v1", b"\xff\x00"]), _MARK, _LIFE).map(list)),
    st.tuples(st.just(token.RELEASE), st.just(TOKEN_KEYS[1:]), st.tuples(_OWNER).map(list)),
    st.tuples(
        st.just(spending.ASK),
        st.just(SPENDING_KEYS),
        st.tuples(_OWNER, st.just(15e6), _MONEY, _MONEY, st.just(3_600_000), _MONEY, _MONEY, st.just(7_200_000)).map(list),
    ),
    st.tuples(st.just(rate.LEAVE), st.just(RATE_KEYS[1:2]), st.tuples(_OWNER).map(list)),
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("w")


async def test_tokens_and_leaving_answer_as_redis_does(redis: Server) -> None:  # noqa: F811
    """The same questions to both, one after another: hours are kept, so a millisecond between them says nothing."""
    theirs = RedisScripts(redis.url, timeout=10.0)
    time = asyncio.get_running_loop().time

    async def both_say(steps: list[Step]) -> None:
        await redis.command("FLUSHALL")
        ours = Store(time)
        for place, (script, keys, drawn) in enumerate(steps):
            arguments = list(drawn)
            if script == token.KEEP:  # no two lives within a minute: which of them is longer must not hang on milliseconds
                arguments[3] = int(arguments[3]) + place * 60_000
            answer, expected = ours.run(script, keys, list(arguments)), await theirs.run(script, keys, *arguments)
            if script == token.ASK and expected[0] == b"kept":
                assert isinstance(answer, list)
                assert answer[:3] == expected[:3]
                assert abs(int(answer[3]) - int(expected[3])) < 60_000
            elif script == spending.ASK:
                assert isinstance(answer, list)
                assert [float(each) for each in answer] == pytest.approx([float(each) for each in expected], abs=1e-6)
            elif script != token.KEEP:
                assert answer == (expected or 0)  # Lua says nothing where nothing was done

    loop = asyncio.get_running_loop()

    def run() -> None:
        @settings(max_examples=60, deadline=None)
        @given(st.lists(_STEPS, max_size=12))
        def told(steps: list[Step]) -> None:
            asyncio.run_coroutine_threadsafe(both_say(steps), loop).result(30)

        told()

    await asyncio.to_thread(run)
    await theirs.aclose()


class Permits(RuleBasedStateMachine):
    """However workers ask, the permits of any stretch stay within the rate: the moments handed out are an interval apart."""

    INTERVAL, HORIZON, ABSENT = 10_000.0, 100_000.0, 15e6

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.store = Store(lambda: self.now)
        self.moments: list[float] = []
        self.last = dict.fromkeys("abc", 0.0)

    @rule(owner=st.sampled_from("abc"), wanted=st.integers(0, 30))
    def ask(self, owner: str, wanted: int) -> None:
        least = int(wanted > 0 and self.last[owner] <= self.now * 1e6)  # as a worker does: only with nothing in hand or on its way
        answer = self.store.run(rate.ASK, RATE_KEYS, [owner, self.INTERVAL, self.HORIZON, self.ABSENT, wanted, least, 0])
        assert isinstance(answer, list)
        count, delay, workers, warning = (int(each) for each in answer)
        assert 1 <= workers <= 3
        assert count <= wanted
        assert delay >= warning == 0
        self.moments += [self.now * 1e6 + delay + place * self.INTERVAL for place in range(count)]
        if count:
            self.last[owner] = self.moments[-1]

    @rule(seconds=st.floats(0, 20))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def apart(self) -> None:
        assert all(later - earlier >= self.INTERVAL - 2 for earlier, later in zip(self.moments, self.moments[1:], strict=False))


TestPermits = Permits.TestCase
TestPermits.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


async def test_an_open_circuit_is_told_to_the_others_and_not_to_itself() -> None:
    now = 5.0
    store = Store(lambda: now)
    asked = [10_000.0, 100_000.0, 15e6, 1, 1]
    assert store.run(rate.ASK, RATE_KEYS, ["a", *asked, 60_000])[3] == 0  # type: ignore[index]
    assert store.run(rate.ASK, RATE_KEYS, ["a", *asked, 0])[3] == 0  # type: ignore[index]
    assert store.run(rate.ASK, RATE_KEYS, ["b", *asked, 0])[3] == 60_000  # type: ignore[index]
    now += 61
    assert store.run(rate.ASK, RATE_KEYS, ["b", *asked, 0])[3] == 0  # type: ignore[index]


async def test_three_workers_keep_one_rate_and_notice_who_leaves(folder: Path) -> None:
    async with Keeper(folder / "k.sock"), AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Sidecar(together_ground(folder / "k.sock"))) for _ in range(3)]
        for each in workers:
            await each.counts(3)
        moments = await permits(workers, 300)
        assert most_over(moments, rate=300.0) <= 6 + 75
        await workers[2].fleet.aclose()
        for each in workers[:2]:
            await each.counts(2)


async def test_a_worker_that_dies_is_not_counted_and_its_right_to_make_a_token_is_free(folder: Path) -> None:
    path = folder / "k.sock"
    async with Keeper(path):
        dying, other = TogetherScripts(path, timeout=5.0), TogetherScripts(path, timeout=5.0)
        assert await dying.run(token.ASK, TOKEN_KEYS, "a", "", 900_000) == [b"make"]
        await dying.aclose()  # as the kernel does for a process that was killed
        while await other.run(token.ASK, TOKEN_KEYS, "b", "", 900_000) != [b"make"]:
            await asyncio.sleep(0.01)


async def test_without_the_supervisor_each_goes_on_with_its_share(folder: Path) -> None:
    async with Keeper(folder / "k.sock") as keeper, Sidecar(together_ground(folder / "k.sock")) as worker:
        await worker.permit()
        await keeper.__aexit__()
        while not worker.rate.local:
            await worker.permit()

        async def make() -> Credential:
            return Credential("made here", seconds=60.0, expire_time=0.0)

        assert (await worker.fleet.tokens.issue("account", make, refused=None, within=1.0)).id == "made here"


async def test_an_unknown_script_is_away_and_not_an_error(folder: Path) -> None:
    async with Keeper(folder / "k.sock"):
        scripts = TogetherScripts(folder / "k.sock", timeout=5.0)
        with pytest.raises(Away):
            await scripts.run("return 1", [], "a")
        assert await scripts.run(token.ASK, TOKEN_KEYS, "a", "", 1000) == [b"make"]
        await scripts.aclose()

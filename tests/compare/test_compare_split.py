"""A canary gets its share, the same requests always, and is helped out by the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.errors import ConfigError
from asrproxy.testing import tones
from tests.recognize.conftest import Start

WAV = tones.to_wav(tones.synthesize("天地玄黄", 16_000), 16_000)
CANARY = """
server: {{listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"], callers: [billing, search]}}
providers: {{old: {{type: fake}}, new: {{type: fake{failing}}}}}
routes: {{default: {{providers: [old, new], split: {{old: 0.75, new: 0.25}}{by}}}}}
policy: {{retries: {{attempts: 1}}}}
"""


async def test_about_a_quarter_begins_at_the_canary_and_the_same_id_always_there(start: Start) -> None:
    async with start(CANARY.format(failing="", by="")) as client:
        first = {}
        for number in range(200):
            _, body = await client.post(WAV, headers={"X-Request-Id": f"r{number}"})
            first[number] = body["provider"]
        # 50 expected; 99.99 of 100 seeds of a fair draw lie within 26 and 76, and the draw is a hash: the same in every run.
        assert 26 <= list(first.values()).count("new") <= 76
        for number in range(0, 200, 20):
            _, body = await client.post(WAV, headers={"X-Request-Id": f"r{number}"})
            assert body["provider"] == first[number]
        _, status = await client.get("/v1/status")
        assert status["routes"]["default"]["split"] == {"by": "request", "shares": {"old": 0.75, "new": 0.25}}


async def test_a_caller_stays_at_its_provider(start: Start) -> None:
    async with start(CANARY.format(failing="", by=", split_by: caller")) as client:
        for caller in ("billing", "search"):
            found = {(await client.post(WAV, headers={"X-Caller": caller}))[1]["provider"] for _ in range(12)}
            assert len(found) == 1


async def test_a_canary_that_fails_costs_no_answer(start: Start) -> None:
    async with start(CANARY.format(failing=", failure_rate: 1.0", by="")) as client:
        answers = [await client.post(WAV, headers={"X-Request-Id": f"r{number}"}) for number in range(40)]
        assert {(answer.status, body["provider"]) for answer, body in answers} == {(200, "old")}


async def test_a_long_recording_keeps_to_one_provider(start: Start) -> None:
    long = tones.to_wav(tones.synthesize("天地玄黄", 16_000) + bytes(32_000 * 2), 16_000)
    async with start(CANARY.format(failing="", by="") + "\n") as client:
        _, body = await client.post(long)
        assert len({segment["provider"] for segment in body["segments"]}) == 1


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1), min_size=1), st.text(max_size=20))
def test_the_choice_is_always_one_with_a_share(shares: dict[str, float], request_id: str) -> None:
    from dataclasses import dataclass

    from asrproxy.plugin import Context
    from asrproxy.policy.split import Split

    @dataclass(frozen=True)
    class Member:
        name: str

    if not sum(shares.values()) > 0:
        return
    members = [Member(name) for name in "abc"]
    ordered = Split(route="r", shares=shares, by="request").ordered(members, Context(request_id, 0.0))
    assert sorted(ordered, key=lambda member: member.name) == members
    assert shares.get(ordered[0].name, 0) > 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("split: {nobody: 1}", "routes.default.split.nobody"),
        ("split: {old: 0}", "weight above 0"),
        ("shadow: {provider: nobody}", "routes.default.shadow.provider"),
        ("shadow: {provider: new, fraction: 2}", "routes.default.shadow.fraction"),
        ("shadow: {provider: new, budget: {day: 1}}", "routes.default.shadow.budget"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_place(start: Start, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with start(f"providers: {{old: {{type: fake}}, new: {{type: fake}}}}\nroutes: {{default: {{providers: [old], {text}}}}}\n"):
            pass

"""litellm's client, with only its `api_base` changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import openai
import pytest

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar
from tests.clients.page import ADDRESS, programs
from tests.openai_door.conftest import Start
from tests.openai_door.recordings import LONG, PHRASES, SECONDS, TEXT, WAV


@pytest.fixture(scope="module")
def litellm() -> Any:
    """Imported here only: it takes seconds, and without this variable it asks the network for prices."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    return litellm


def asked(door: RunningSidecar, **options: Any) -> dict[str, Any]:
    return {
        "model": "openai/default",
        "file": ("speech.wav", WAV),
        "api_base": door.openai_url,
        "api_key": "unused",
        "max_retries": 0,
    } | options


async def test_it_transcribes(litellm: Any, door: RunningSidecar) -> None:
    answer = litellm.transcription(**asked(door))
    assert answer.text == TEXT
    assert answer.duration == pytest.approx(SECONDS, abs=0.01)  # it asks for verbose_json, to have this
    assert (await litellm.atranscription(**asked(door))).text == TEXT


async def test_each_format(litellm: Any, door: RunningSidecar) -> None:
    for response_format in ("json", "text", "srt", "verbose_json", "vtt"):
        assert TEXT in litellm.transcription(**asked(door, response_format=response_format)).text
        assert TEXT in (await litellm.atranscription(**asked(door, response_format=response_format))).text


def test_word_times_and_language(litellm: Any, door: RunningSidecar) -> None:
    answer = litellm.transcription(
        **asked(door, file=("long.wav", LONG), response_format="verbose_json", timestamp_granularities=["word"], language="zh")
    )
    assert "".join(each["word"] for each in answer.words) == "".join(PHRASES)
    assert {each.options.language for each in door.vendor.asked} == {"zh"}


async def test_the_stream(litellm: Any, door: RunningSidecar) -> None:
    events = list(litellm.transcription(**asked(door, file=("long.wav", LONG), stream=True)))
    assert [each.delta for each in events[:-1]] == list(PHRASES)
    assert events[-1].text == "".join(PHRASES)
    answer = await litellm.atranscription(**asked(door, file=("long.wav", LONG), stream=True))
    assert "".join([each.delta async for each in answer if each.type == "transcript.text.delta"]) == "".join(PHRASES)


async def test_errors_are_openais_classes_and_from_coroutines_its_own(litellm: Any, door: RunningSidecar, start: Start) -> None:
    """`transcription` lets through what the official client raises; `atranscription` makes its own class of it, a subclass."""
    locked = start(CONFIGURATION + "server: {tokens: [right]}\n")
    door.vendor.fail("throttled", retry_after=7, times=2)
    door.vendor.fail("unavailable", times=2)
    for options, official, own in (
        ({}, openai.RateLimitError, litellm.RateLimitError),
        ({}, openai.InternalServerError, litellm.BadGatewayError),
        ({"model": "openai/no-such-model"}, openai.NotFoundError, litellm.NotFoundError),
        ({"temperature": 7}, openai.BadRequestError, litellm.BadRequestError),
        ({"api_base": locked.openai_url}, openai.AuthenticationError, litellm.AuthenticationError),
    ):
        with pytest.raises(official):
            litellm.transcription(**asked(door, **options))
        with pytest.raises(own):
            await litellm.atranscription(**asked(door, **options))


def test_the_pages_program(
    litellm: Any, door: RunningSidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of docs/clients.md, run here, where litellm has been imported."""
    (program,) = [each.source for each in programs() if "import litellm" in each.source]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meeting.flac").write_bytes(WAV)
    exec(program.replace(ADDRESS, door.url), {})
    assert capsys.readouterr().out == TEXT + "\n"

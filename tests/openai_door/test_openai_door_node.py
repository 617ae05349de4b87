"""OpenAI's own Node client, unmodified, with only its base URL changed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar
from tests.openai_door.conftest import Start, one_by_one
from tests.openai_door.recordings import LONG, PHRASES, TEXT, WAV

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node on this machine"),
    pytest.mark.skipif(not (FOLDER / "node_modules" / "openai").is_dir(), reason="not installed: run `npm ci` in tests/openai_door/node"),
]


def job(door: RunningSidecar, call: str, audio: bytes | None = WAV, client: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    sent = {} if audio is None else {"audio": base64.b64encode(audio).decode()}
    return {"call": call, "client": {"baseURL": door.openai_url} | (client or {}), "options": options} | sent


def run(*jobs: dict[str, Any]) -> list[Any]:
    """What became of each: its value, or `{"error": …}`."""
    assert NODE is not None
    ended = subprocess.run([NODE, "client.js"], cwd=FOLDER, input=json.dumps(jobs), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    outcomes = [json.loads(line) for line in ended.stdout.splitlines()]
    return [each.get("value", each) for each in outcomes]


def test_all_five_formats_and_the_stream(door: RunningSidecar) -> None:
    plain, text, srt, vtt, verbose, words, events = run(
        job(door, "create"),
        job(door, "create", response_format="text"),
        job(door, "create", response_format="srt"),
        job(door, "create", response_format="vtt"),
        job(door, "create", LONG, response_format="verbose_json", language="zh"),
        job(door, "create", LONG, response_format="verbose_json", timestamp_granularities=["word"]),
        job(door, "stream", LONG),
    )
    assert plain["text"] == TEXT
    assert text == TEXT + "\n"
    assert srt.startswith("1\n00:00:00,")
    assert vtt.startswith("WEBVTT")
    assert [each["text"] for each in verbose["segments"]] == list(PHRASES)
    assert "words" not in verbose
    assert "".join(each["word"] for each in words["words"]) == "".join(PHRASES)
    assert "segments" not in words
    assert [each["delta"] for each in events[:-1]] == list(PHRASES)
    assert events[-1] == {"type": "transcript.text.done", "text": "".join(PHRASES)}


def test_models(door: RunningSidecar) -> None:
    names, one, unknown = run(
        job(door, "models", None), job(door, "model", None, name="vendor"), job(door, "model", None, name="no-such-model")
    )
    assert names == ["default", "vendor"]
    assert one["id"] == "vendor"
    assert unknown["error"]["class"] == "NotFoundError"


def test_errors_are_the_clients_own_classes(door: RunningSidecar, start: Start) -> None:
    door.vendor.fail("throttled", retry_after=7)
    door.vendor.fail("unavailable")
    locked, late = start(CONFIGURATION + "server: {tokens: [right]}\n"), start(CONFIGURATION)
    late.vendor.hold()
    broken = start(one_by_one("{error: unavailable}"))
    found = run(
        job(door, "create"),
        job(door, "create"),
        job(door, "create", model="no-such-model"),
        job(door, "create", b"not audio at all, whatever it is"),
        job(door, "create", response_format="diarized_json"),
        job(locked, "create", client={"apiKey": "wrong"}),
        job(late, "create", client={"timeout": 300}),
        job(broken, "stream", LONG),
    )
    assert [(each["error"]["class"], each["error"].get("code")) for each in found] == [
        ("RateLimitError", "rate_limited"),
        ("InternalServerError", "provider_error"),
        ("NotFoundError", "unknown_route"),
        (found[3]["error"]["class"], found[3]["error"]["code"]),
        ("BadRequestError", "invalid_parameter"),
        ("AuthenticationError", "unauthorized"),
        ("APIConnectionTimeoutError", None),
        ("APIError", "provider_error"),
    ]
    assert found[0]["error"]["headers"]["retry-after"] == "7"
    assert (found[3]["error"]["status"], found[3]["error"]["code"]) in {(400, "invalid_audio"), (415, "unsupported_media")}
    assert found[4]["error"]["param"] == "response_format"
    late.vendor.idle()


def test_by_itself_the_client_repeats_what_may_succeed_and_nothing_else(door: RunningSidecar) -> None:
    door.vendor.fail("throttled", retry_after=0.5)
    door.vendor.answer("at last")
    door.vendor.fail("refused", times=3)
    answered, refused = run(job(door, "create", client={"maxRetries": 2}), job(door, "create", client={"maxRetries": 2}))
    assert answered["text"] == "at last"
    assert refused["error"]["code"] == "provider_auth"
    assert [each.status for each in door.requests] == [429, 200, 502]

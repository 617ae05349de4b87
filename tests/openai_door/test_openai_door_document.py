"""`/openapi.json` says what the OpenAI door takes and gives, and the door holds to it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from asrproxy.api.openai_form import GRANULARITIES, KNOWN
from asrproxy.testing.sidecar import RunningSidecar
from tests.openai_door.recordings import LONG, WAV


async def document(session: aiohttp.ClientSession, door: RunningSidecar) -> dict[str, Any]:
    async with session.get(f"{door.url}/openapi.json") as answer:
        return await answer.json()


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


async def test_every_field_of_the_form_is_described(door: RunningSidecar) -> None:
    async with aiohttp.ClientSession() as session:
        post = (await document(session, door))["paths"]["/v1/audio/transcriptions"]["post"]
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {*KNOWN, GRANULARITIES, "file"}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([], "OpenAITranscription"),
        ([("response_format", "verbose_json")], "OpenAIVerboseTranscription"),
        ([("response_format", "verbose_json"), (GRANULARITIES, "word"), (GRANULARITIES, "segment")], "OpenAIVerboseTranscription"),
        ([("response_format", "no such")], "Error"),
    ],
)
async def test_answers_are_as_described(door: RunningSidecar, fields: list[tuple[str, str]], name: str) -> None:
    async with aiohttp.ClientSession() as session:
        form = aiohttp.FormData(fields)
        form.add_field("file", LONG, filename="long.wav")
        async with session.post(f"{door.openai_url}/audio/transcriptions", data=form) as answer:
            validator(await document(session, door), name).validate(await answer.json())


async def test_models_are_as_described(door: RunningSidecar) -> None:
    async with aiohttp.ClientSession() as session:
        described = await document(session, door)
        for path, name in (("models", "OpenAIModels"), ("models/default", "OpenAIModel"), ("models/no-such-model", "Error")):
            async with session.get(f"{door.openai_url}/{path}") as answer:
                validator(described, name).validate(await answer.json())


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"model": "whisper-1"}'),
        ("multipart/form-data", WAV),
        ("multipart/form-data; boundary=x", b"nothing of a form"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=model\r\n\r\nwhisper-1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n"),
    ],
)
async def test_what_is_no_form_is_refused_in_words(door: RunningSidecar, content_type: str, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{door.openai_url}/audio/transcriptions", data=body, headers={"Content-Type": content_type}) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["message"]

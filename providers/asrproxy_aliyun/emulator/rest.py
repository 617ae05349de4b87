"""`POST /stream/v1/asr`: one sentence, the whole audio in one request."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from aiohttp import web

from .audio import Sound, checked_format, checked_rate, sound_of
from .cloud import Cloud
from .codes import CLIENT_ERROR, DOWNLOAD_FAILED, SUCCESS, TEXTS, NlsFailure, http_status
from .faults import NOTHING_SCRIPTED, Scripted
from .ledger import Call, Kind
from .replies import reply


class Rest:
    """The one-sentence face."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One call; its JSON `status` says how it went, the HTTP status only follows."""
        call_id = uuid.uuid4().hex
        answered = _Answered()
        try:
            with self._cloud.ledger.call(Kind.REST, call_id, dict(request.query)) as call:
                text = await self._recognized(request, call, answered)
        except NlsFailure as failure:
            await request.read()  # a body left unread would cost the client its connection
            payload: dict[str, object] = {"task_id": call_id, "result": "", "status": failure.status, "message": failure.text}
            return await reply(request, answered.script, http_status(failure.status, self._cloud.settings.http_errors), payload)
        payload = {"task_id": call_id, "result": text, "status": SUCCESS, "message": TEXTS[SUCCESS]}
        return await reply(request, answered.script, HTTPStatus.OK, payload)

    async def _recognized(self, request: web.Request, call: Call, answered: _Answered) -> str:
        cloud, query = self._cloud, request.query
        cloud.tokens.check(request.headers.get("X-NLS-Token") or query.get("token"))
        cloud.check_appkey(query.get("appkey"))
        format, rate = checked_format(query.get("format")), checked_rate(query.get("sample_rate"), cloud.settings.sample_rates)
        if "audio_address" in query:
            raise NlsFailure(DOWNLOAD_FAILED, "DOWNLOAD_FAILED: this emulator fetches no address")
        with cloud.quota.call():
            body = await request.read()
            call.audio_bytes = len(body)
            sound = await self._sound(body, format, rate)
            call.audio_seconds = sound.seconds
            answered.script = script = cloud.faults.next_call()
            cloud.ledger.arrive(call)
            await cloud.faults.before_answer(script)
            if (failure := script.failure()) is not None:
                raise failure
            call.text = script.said((await cloud.answers.heard(sound)).text)
        cloud.check_speech(call.text)
        return call.text

    async def _sound(self, body: bytes, format: str, rate: int) -> Sound:
        if not body:
            raise NlsFailure(CLIENT_ERROR, "Gateway:CLIENT_ERROR:Empty audio data!")
        sound = await sound_of(body, format, rate)
        if sound.seconds > self._cloud.settings.longest:
            raise NlsFailure(self._cloud.settings.too_long_status)
        return sound


class _Answered:
    """What was scripted for the call, known only once it has arrived."""

    script: Scripted = NOTHING_SCRIPTED

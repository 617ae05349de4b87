"""`POST /stream/v1/FlashRecognizer`: a whole recording in one request, answered in sentences."""

from __future__ import annotations

import asyncio
import time
import uuid
from http import HTTPStatus

from aiohttp import web

from .answers import HeardWord
from .audio import Sound, checked_rate, sound_of
from .cloud import Cloud
from .codes import DOWNLOAD_FAILED, FORMAT_NOT_SUPPORTED, NO_VALID_AUDIO, SUCCESS, TEXTS, NlsFailure, http_status
from .faults import NOTHING_SCRIPTED, Scripted
from .ledger import Call, Kind
from .replies import reply
from .sentences import Ended, sentences
from .tasks import switched_on

_FORMATS = frozenset({"mp4", "aac", "mp3", "opus", "wav"})
_SENTENCE_SILENCE = 0.8


class Flash:
    """The recording face: no raw PCM, 100 MB at most (the application's body limit)."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One call; its JSON `status` says how it went, the HTTP status only follows."""
        call_id, script, began = uuid.uuid4().hex, NOTHING_SCRIPTED, time.monotonic()
        try:
            with self._cloud.ledger.call(Kind.FLASH, call_id, dict(request.query)) as call:
                sound = await self._sound(request, call)
                with self._cloud.quota.call():
                    script = self._cloud.faults.next_call()
                    self._cloud.ledger.arrive(call)
                    said = await self._said(request, call, sound, script)
        except NlsFailure as failure:
            await request.read()  # a body left unread would cost the client its connection
            payload: dict[str, object] = {"task_id": call_id, "result": "", "status": failure.status, "message": failure.text}
            return await reply(request, script, http_status(failure.status, self._cloud.settings.http_errors), payload)
        result = {"duration": _ms(sound.seconds), "latency": _ms(time.monotonic() - began), "completed": True, "sentences": said}
        payload = {"task_id": call_id, "status": SUCCESS, "message": TEXTS[SUCCESS], "flash_result": result}
        return await reply(request, script, HTTPStatus.OK, payload)

    async def _sound(self, request: web.Request, call: Call) -> Sound:
        cloud, query = self._cloud, request.query
        cloud.tokens.check(query.get("token") or request.headers.get("X-NLS-Token"))
        cloud.check_appkey(query.get("appkey"))
        format = query.get("format", "").lower()
        if format not in _FORMATS:
            raise NlsFailure(FORMAT_NOT_SUPPORTED, f"UNSUPPORTED_FORMAT: '{format}'")
        rate = checked_rate(query.get("sample_rate"), cloud.settings.sample_rates)
        if "audio_address" in query:
            raise NlsFailure(DOWNLOAD_FAILED, "DOWNLOAD_FAILED: this emulator fetches no address")
        body = await request.read()
        call.audio_bytes = len(body)
        sound = await sound_of(body, format, rate)
        call.audio_seconds = sound.seconds
        return sound

    async def _said(self, request: web.Request, call: Call, sound: Sound, script: Scripted) -> list[dict[str, object]]:
        await self._cloud.faults.before_answer(script)
        if (failure := script.failure()) is not None:
            raise failure
        words = switched_on(request.query, "enable_word_level_result")
        spans = await asyncio.to_thread(sentences, sound.samples, sound.sample_rate, _SENTENCE_SILENCE)
        found = [await self._sentence(sound, each, script, words) for each in spans]
        spoken = [each for each in found if each["text"]]
        call.text = "".join(str(each["text"]) for each in spoken)
        if not spoken:
            raise NlsFailure(NO_VALID_AUDIO)
        return spoken

    async def _sentence(self, sound: Sound, span: Ended, script: Scripted, words: bool) -> dict[str, object]:
        heard = await self._cloud.answers.heard(sound.part(span.start, span.end))
        sentence: dict[str, object] = {
            "text": script.said(heard.text), "begin_time": _ms(span.start), "end_time": _ms(span.end), "channel_id": 0,
        }  # fmt: skip
        if words:
            sentence["words"] = [_word(each, span.start) for each in heard.words]
        return sentence


def _word(word: HeardWord, start: float) -> dict[str, object]:
    # The vendor's own example writes the times of words as strings, those of sentences as numbers.
    return {"text": word.text, "begin_time": str(_ms(start + word.start)), "end_time": str(_ms(start + word.end)), "punc": ""}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

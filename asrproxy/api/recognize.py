"""`POST /v1/recognize`: any audio in, text out, whole or as server-sent events."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from asrproxy.api.body import BodyLimits, Upload, upload
from asrproxy.api.event_stream import EventStream
from asrproxy.api.parameters import Ask, parse
from asrproxy.api.problems import error_body, segment_body
from asrproxy.api.render import CONTENT_TYPES, rendered, transcript_body
from asrproxy.api.request import ACCOUNT, RUNTIME, Account
from asrproxy.errors import AsrError, BodyTooLarge, InvalidParameter
from asrproxy.long_audio import Progress
from asrproxy.model import Segment
from asrproxy.recognizer import Recognizer

_NEVER: Final = re.compile(r"q=0(\.0*)?")


async def recognize(request: web.Request) -> web.StreamResponse:
    """Body: raw audio or a form. Answers the contract's `200`, or raises AsrError."""
    runtime = request.app[RUNTIME]
    account = request[ACCOUNT]
    with runtime.generation() as generation:
        async with upload(BodyLimits.of(runtime.server)) as body:
            account.body = body.spool
            async with runtime.drain.heeded():
                ask = await _received(request, body, account, generation.recognizer)
            if ask.stream:
                return await _streamed(request, generation.recognizer, body, ask, account)
            transcript = await generation.recognizer.transcribe(body.spool, ask.order, account.stages)
            account.finished(transcript)
            return web.Response(
                body=rendered(transcript, ask.order.origin.request_id, ask.response_format, account.cost),
                content_type=CONTENT_TYPES[ask.response_format],
                charset=None if ask.response_format == "json" else "utf-8",
            )


async def _received(request: web.Request, body: Upload, account: Account, recognizer: Recognizer) -> Ask:
    """The parameters, checked before the audio is read where they come in the query."""
    given: dict[str, str] = {}
    events = _accepts_events(request)
    if request.query_string:
        query = request.query
        given.update(query)
        if len(given) != len(query):
            twice = next(name for name in query if len(query.getall(name)) > 1)
            raise InvalidParameter(f"{twice[:64]!r} is given twice", param=twice[:64])
    length = request.content_length
    if length is not None and length > body.limits.body:
        raise BodyTooLarge(f"the body is longer than server.max_body ({body.limits.body} bytes)")
    if request.content_type == "multipart/form-data":
        fields = await body.form(request)
        for name, value in fields.items():
            if given.setdefault(name, value) != value:
                raise InvalidParameter(f"{name!r} differs between the query and the form", param=name)
        ask = parse(given, account, events=events)
        account.accepted(ask.order.route, recognizer.accept(ask.order))
    else:
        ask = parse(given, account, events=events)
        account.accepted(ask.order.route, recognizer.accept(ask.order))
        await body.raw(request.content, known=length)
    account.stages.ended("receive")
    return ask


def _accepts_events(request: web.Request) -> bool:
    """Whether `Accept` asks for server-sent events."""
    for each in ",".join(request.headers.getall("Accept", ())).lower().split(","):
        media, *parameters = (part.strip() for part in each.split(";"))
        if media == "text/event-stream":
            return not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return False


async def _streamed(request: web.Request, recognizer: Recognizer, body: Upload, ask: Ask, account: Account) -> web.StreamResponse:
    """Server-sent events: progress and segments as they complete, at the end the result or the error."""
    request_id = ask.order.origin.request_id
    stream = EventStream(request, request_id)
    told = 0
    await stream.open()

    async def listen(happened: Segment | Progress) -> None:
        nonlocal told
        match happened:
            case Segment():
                told += 1
                await stream.tell(segment_body(happened, request_id), "segment")
            case Progress():
                await stream.tell(_progress_body(happened), "progress")

    async with stream.alive():
        try:
            transcript = await recognizer.transcribe(body.spool, ask.order, account.stages, listen)
            account.finished(transcript)
            for silent in transcript.segments[told:]:  # of a long recording without speech: no call was made that could have ended
                await stream.tell(segment_body(silent, request_id), "segment")
            await stream.last(transcript_body(transcript, request_id, account.cost), "result")
        except AsrError as error:
            account.failed(error)
            await stream.last({"error": error_body(error, request_id)}, "error")
    return await stream.end()


def _progress_body(progress: Progress) -> dict[str, Any]:
    return {
        "done": progress.done,
        "total": progress.total,
        "seconds_done": round(progress.seconds_done, 3),
        "seconds_total": round(progress.seconds_total, 3),
    }

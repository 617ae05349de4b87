"""The OpenAI-compatible door: `POST /v1/audio/transcriptions` and `GET /v1/models` over the same routes."""

from __future__ import annotations

import time

from aiohttp import web

from asrproxy.api import openai_answer as answer
from asrproxy.api.body import BodyLimits, Upload, upload
from asrproxy.api.event_stream import EventStream
from asrproxy.api.openai_form import GRANULARITIES, OPENAI_NAMES, Ask, ResponseFormat, parsed
from asrproxy.api.problems import error_body
from asrproxy.api.render import dumped
from asrproxy.api.request import ACCOUNT, RUNTIME, Account
from asrproxy.config.models import DEFAULT_ROUTE
from asrproxy.errors import AsrError, InvalidParameter, UnknownRoute
from asrproxy.long_audio import Progress
from asrproxy.model import Segment, Transcript
from asrproxy.recognizer import Recognizer
from asrproxy.runtime import Runtime
from asrproxy.text import cues


async def models(request: web.Request) -> web.Response:
    """Routes and providers as models."""
    runtime = request.app[RUNTIME]
    data = [answer.model(name, _began(runtime)) for name in sorted(runtime.current.recognizer.routes)]
    return web.Response(body=dumped({"object": "list", "data": data}), content_type="application/json")


async def model(request: web.Request) -> web.Response:
    """One of them, or a name of OpenAI's own, for clients that look before they ask."""
    name = request.match_info["name"]
    runtime = request.app[RUNTIME]
    routes = runtime.current.recognizer.routes
    if name not in routes and name not in OPENAI_NAMES:
        raise UnknownRoute(f"no route or provider {name[:100]!r}; there are {', '.join(sorted(routes))}", param="model")
    return web.Response(body=dumped(answer.model(name, _began(runtime))), content_type="application/json")


async def transcriptions(request: web.Request) -> web.StreamResponse:
    """A form with `file` and `model`. Errors are the contract's, whose keys are a superset of OpenAI's."""
    runtime = request.app[RUNTIME]
    account = request[ACCOUNT]
    if request.content_type != "multipart/form-data":
        raise InvalidParameter("this address takes multipart/form-data with the parts file and model")
    with runtime.generation() as generation:
        recognizer = generation.recognizer
        async with upload(BodyLimits.of(runtime.server)) as body:
            account.body = body.spool
            async with runtime.drain.heeded():
                form = await body.form(request, repeatable=GRANULARITIES)
            ask = parsed(form, recognizer.routes, account=account, default=DEFAULT_ROUTE)
            account.accepted(ask.order.route, recognizer.accept(ask.order))
            account.stages.ended("receive")
            if ask.stream:
                return await _streamed(request, recognizer, body, ask, account)
            transcript = await recognizer.transcribe(body.spool, ask.order, account.stages)
            account.finished(transcript)
            return _written(transcript, ask)


def _written(transcript: Transcript, ask: Ask) -> web.Response:
    match ask.response_format:
        case ResponseFormat.JSON:
            return web.Response(body=dumped(answer.plain(transcript)), content_type="application/json")
        case ResponseFormat.VERBOSE_JSON:
            temperature = ask.order.options.temperature or 0.0
            body = dumped(answer.verbose(transcript, ask.granularities, temperature=temperature))
            return web.Response(body=body, content_type="application/json")
        case ResponseFormat.TEXT:
            return web.Response(text=transcript.text + "\n")
        case ResponseFormat.SRT:
            return web.Response(text=cues.srt(transcript))
        case ResponseFormat.VTT:
            return web.Response(text=cues.vtt(transcript))


async def _streamed(request: web.Request, recognizer: Recognizer, body: Upload, ask: Ask, account: Account) -> web.StreamResponse:
    """`transcript.text.delta` for what each segment adds, then `transcript.text.done`.

    An error before the first of them is an answer with its own status, so that a client raises what it raises without `stream`.
    """
    stream = EventStream(request, ask.order.origin.request_id)
    deltas = answer.Deltas(ask.order.options.language)

    async def tell(delta: str) -> None:
        if delta:
            await stream.tell({"type": "transcript.text.delta", "delta": delta})

    async def listen(happened: Segment | Progress) -> None:
        if isinstance(happened, Segment):
            await tell(deltas.of(happened))

    async with stream.alive():
        try:
            transcript = await recognizer.transcribe(body.spool, ask.order, account.stages, listen)
            account.finished(transcript)
            await tell(deltas.rest(transcript))
            await stream.tell({"type": "transcript.text.done", "text": transcript.text})
            await stream.last_mark(b"[DONE]")
        except AsrError as error:
            if not stream.opened:
                raise
            account.failed(error)
            await stream.last({"type": "error", "error": error_body(error, ask.order.origin.request_id)})
    return await stream.end()


def _began(runtime: Runtime) -> int:
    """Unix seconds."""
    return int(time.time() - (time.monotonic() - runtime.began))

"""`/ws/v1`: moves frames between a client and the tasks that it starts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import WSMessage, WSMsgType, web

from .audio import checked_format, checked_rate
from .cloud import Cloud
from .codes import DATA_TIMEOUT, IDLE_TIMEOUT, NlsFailure
from .dialogue import Control, Dialogue, Start, State, Stop
from .faults import Scripted
from .intake import Intake
from .ledger import Call, Kind
from .replies import reply, reset
from .tasks import RecognizerTask, Said, Task, TranscriberTask

_LARGEST_FRAME = 16 * 2**20
_CLOSE_TIMEOUT = 2.0


class WebSocket:
    """The streaming face."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One connection. A token that does not open the gateway is refused in the handshake, in plain text."""
        if (script := self._cloud.faults.next_handshake()) is not None:
            self._cloud.ledger.refused_handshakes += 1
            return await reply(request, script, HTTPStatus.FORBIDDEN, {})
        try:
            self._cloud.tokens.check(request.headers.get("X-NLS-Token") or request.query.get("token"))
        except NlsFailure as failure:
            self._cloud.ledger.refused_handshakes += 1
            return web.Response(status=HTTPStatus.FORBIDDEN, text=f"{failure.text}.", headers={"Server": "Tengine"})
        # Pings are answered by hand, because they count as a sign of life.
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=_LARGEST_FRAME, timeout=_CLOSE_TIMEOUT)
        try:
            await socket.prepare(request)
        except ConnectionError:
            return web.Response(status=HTTPStatus.NO_CONTENT)  # the client has gone
        await _Connection(self._cloud, socket, request.transport).serve()
        return socket


class _Connection:
    """Reads all the time, so that a Close, a second Stop or a vanished client is noticed while a task works."""

    def __init__(self, cloud: Cloud, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self._cloud = cloud
        self._socket = socket
        self._transport = transport
        self._dialogue = Dialogue()
        self._inbox: asyncio.Queue[bytes | Control | Stop] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._doom: NlsFailure | None = None
        self._patience: asyncio.Timeout | None = None
        self._audio_due = math.inf

    async def serve(self) -> None:
        """Until the client closes, or has been idle for too long."""
        try:
            while await self._next():
                pass
        except NlsFailure as failure:
            if self._dialogue.state is not State.FAILED:
                await self._fail(failure)
            await self._socket.close()
        finally:
            await self._end_worker()

    async def _next(self) -> bool:
        """Takes one frame; False when the client has closed. Raises NlsFailure: none came in time."""
        message = await self._receive()
        match message.type:
            case WSMsgType.PING:
                await self._socket.pong(message.data)
            case WSMsgType.TEXT | WSMsgType.BINARY:
                try:
                    await self._take(message.data)
                except NlsFailure as failure:
                    await self._fail(failure)
            case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                return False
        return True

    async def _receive(self) -> WSMessage:
        patience, status = self._cloud.settings.idle, IDLE_TIMEOUT
        if self._dialogue.state is State.STARTED:
            left = self._audio_due - asyncio.get_running_loop().time()
            if left < patience:
                patience, status = max(0.0, left), DATA_TIMEOUT
        try:
            # After a Stop it is the client who waits; the worker sets the time again when it is done.
            async with asyncio.timeout(None if self._dialogue.state is State.STOPPING else patience) as self._patience:
                return await self._socket.receive()
        except TimeoutError:
            raise NlsFailure(status) from None
        finally:
            self._patience = None  # once left it cannot be set any more

    async def _take(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            if self._dialogue.audio():
                if self._audio_due != math.inf:
                    self._expect_audio()
                self._inbox.put_nowait(data)
            return
        command = self._dialogue.text(data)
        if not isinstance(command, Start):
            self._inbox.put_nowait(command)
            return
        await self._end_worker()
        self._audio_due = math.inf
        if command.namespace.kind is Kind.TRANSCRIBER:
            self._expect_audio()
        self._inbox = asyncio.Queue()
        self._worker = asyncio.create_task(self._work(command))
        await asyncio.sleep(0)  # the task is on the books before the next frame can end it

    def _expect_audio(self) -> None:
        self._audio_due = asyncio.get_running_loop().time() + self._cloud.settings.data_gap

    async def _work(self, start: Start) -> None:
        """One task, from its start to its last message."""
        try:
            with self._cloud.ledger.call(start.namespace.kind, start.task_id, start.options) as call:
                try:
                    script, closing = await self._run(start, call)
                except asyncio.CancelledError:
                    if self._doom is None:
                        raise
                    raise self._doom from None
            await self._complete(script, start.namespace.completed, closing)
        except NlsFailure as failure:
            await self._say(self._dialogue.failed(failure))
        finally:
            self._patience_from_now()

    async def _run(self, start: Start, call: Call) -> tuple[Scripted, Mapping[str, object] | None]:
        cloud, options = self._cloud, start.options
        cloud.check_appkey(start.appkey)
        format = checked_format(None if options.get("format") is None else str(options["format"]))
        rate = checked_rate(options.get("sample_rate"), cloud.settings.sample_rates)
        with cloud.quota.call():
            script = cloud.faults.next_call()
            task = self._task(start, script, Intake(format, rate), rate)
            cloud.ledger.arrive(call)
            await cloud.faults.gateway.speaking()
            await self._say(self._dialogue.event(start.namespace.started))
            while not isinstance(item := await self._inbox.get(), Stop):
                if isinstance(item, Control):
                    task.control(item.options)
                    continue
                call.audio_bytes += len(item)
                await self._tell(task, await task.listen(item), call)
            await cloud.faults.before_answer(script)
            if (failure := script.failure()) is not None:
                raise failure
            await self._tell(task, await task.finish(), call)
            cloud.check_speech(task.text)
            return script, task.closing()

    def _task(self, start: Start, script: Scripted, intake: Intake, rate: int) -> Task:
        cloud = self._cloud
        if start.namespace.kind is Kind.TRANSCRIBER:
            return TranscriberTask(cloud.answers, script, intake, rate, start.options)
        longest = cloud.settings.longest, cloud.settings.too_long_status
        return RecognizerTask(cloud.answers, script, intake, rate, start.options, longest)

    async def _tell(self, task: Task, said: list[Said], call: Call) -> None:
        call.audio_seconds, call.text = task.seconds, task.text
        for each in said:
            await self._cloud.faults.gateway.speaking()
            await self._say(self._dialogue.event(each.name, each.payload))

    async def _complete(self, script: Scripted, name: str, payload: Mapping[str, object] | None) -> None:
        if script.reset:
            reset(self._transport)
            return
        text = self._dialogue.completed(name, payload) if script.body is None else script.body
        if script.task_id is not None:
            message = json.loads(text)
            message["header"]["task_id"] = script.task_id
            text = json.dumps(message, ensure_ascii=False)
        await self._say(text if script.cut is None else text[: script.cut])
        if script.cut is not None:
            reset(self._transport)

    async def _fail(self, failure: NlsFailure) -> None:
        """Ends the task under way with this, or says it when there is none."""
        if self._worker is not None and not self._worker.done():
            self._doom = failure
            self._worker.cancel()
            await asyncio.wait([self._worker])
            self._doom = None
            if self._dialogue.state is State.FAILED:
                return
        await self._say(self._dialogue.failed(failure))

    async def _say(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except ConnectionError:
            return  # the client is gone, which the reader sees too

    def _patience_from_now(self) -> None:
        if self._patience is not None and self._patience.when() is None and not self._socket.closed:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._cloud.settings.idle)

    async def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
            self._worker = None

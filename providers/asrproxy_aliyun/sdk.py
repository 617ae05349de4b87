"""The `sdk` transport: the vendor's own Python client, in threads, for those who must use it."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from asrproxy.plugin import ConfigError, Garbled, Options, ProviderError, Recognition, Unreachable, Utterance
from asrproxy_aliyun.hearing import Hearing
from asrproxy_aliyun.parameters import WS_PATH
from asrproxy_aliyun.protocol import Namespace, State
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import error_of_http
from asrproxy_aliyun.threads import in_thread
from asrproxy_aliyun.websocket import frame_size, task_of

_START: Final = 10  # seconds; the SDK's own wait for the handshake is as long
_LEAVE: Final = 4.0  # seconds; it waits up to three for the echo of a Close
_STOP: Final = 60  # seconds; the core's attempt_timeout ends a call long before


class Sdk:
    """SpeechRecognizer, SpeechTranscriber where words are asked for, through `alibabacloud-nls-python-sdk`; `workers` calls at once."""

    def __init__(self, settings: AliyunSettings) -> None:
        self._settings = settings
        self._url = f"ws{settings.gateway.removeprefix('http')}{WS_PATH}"
        self._room = asyncio.Semaphore(settings.sdk.workers)
        self._sessions: dict[_Session, asyncio.Future[None]] = {}

    async def start(self) -> None:
        """Raises ConfigError: the SDK is not installed."""
        await in_thread(_nls, name="aliyun-sdk-import")

    async def recognize(self, utterance: Utterance, options: Options, token: str) -> Recognition:
        """Raises a ProviderError; TokenRefused where the token may be to blame."""
        await self._room.acquire()
        try:
            session = _Session(self._settings, self._url, utterance, options, token)
        except BaseException:
            self._room.release()
            raise
        thread = self._sessions[session] = asyncio.ensure_future(in_thread(session.run, name="aliyun-sdk"))
        # The place is free when the thread is, which may be seconds after the answer: the SDK waits for the echo of its Close.
        thread.add_done_callback(lambda _: self._left(session, thread))
        try:
            return await session.answer
        except asyncio.CancelledError:
            session.hang_up()
            raise

    def status(self) -> Mapping[str, object]:
        return {"threads": len(self._sessions)}

    async def aclose(self) -> None:
        threads = list(self._sessions.values())
        for session in self._sessions:
            session.hang_up()
        if threads:
            await asyncio.wait(threads, timeout=_LEAVE)
            for thread in threads:
                thread.cancel()
            await asyncio.gather(*threads, return_exceptions=True)

    def _left(self, session: _Session, thread: asyncio.Future[None]) -> None:
        self._sessions.pop(session, None)
        self._room.release()
        if not thread.cancelled():
            error = thread.exception()
            if error is not None and not session.answer.done():
                session.answer.set_exception(error)


class _Session:
    """One call. `run` is the thread's; `answer` is set on the loop by whoever knows it first, the SDK's own thread most often."""

    def __init__(self, settings: AliyunSettings, url: str, utterance: Utterance, options: Options, token: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Recognition] = self._loop.create_future()
        self._settings = settings
        self._utterance = utterance
        # The client makes its own messages; what comes back is read by the same state machine as on our own WebSocket.
        self._task = task_of(settings, options)
        self._hearing = Hearing(self._task, words=options.words, language=settings.language)
        self._over = threading.Event()
        self._client = _client_type(self._task.namespace)(
            self, url=url, token=token, appkey=settings.appkey.get_secret_value(), on_close=self.closed
        )

    def run(self) -> None:
        """Blocking: the whole call. Everything it meets goes to `answer`."""
        nls = _nls()
        options = dict(self._task.payload)
        try:
            self._client.start(aformat=options.pop("format"), sample_rate=options.pop("sample_rate"), timeout=_START, ex=options)
            # It returns just the same when the handshake was refused or the task failed.
            self._speak()
            if self._running():
                self._client.stop(timeout=_STOP)
        except (nls.exception.NotStartException, nls.exception.ConnectionUnavailable):
            pass  # the task ended between two frames, and what ended it has been heard
        except (nls.exception.ConnectionTimeout, nls.exception.StartTimeoutException, nls.exception.StopTimeoutException) as error:
            self._settle(Unreachable(f"the SDK waited in vain: {error}"), error)
        except (nls.websocket.WebSocketException, OSError) as error:
            self.failed(error)
        finally:
            self.closed()
            self.hang_up()

    def heard(self, frame: str) -> None:
        """An event, in the SDK's thread."""
        try:
            recognition = self._hearing.take(self._task.feed(frame))
        except ProviderError as error:
            self._settle(error)
        else:
            if recognition is not None:
                self._settle(recognition)

    def failed(self, error: BaseException) -> None:
        """What the SDK met on the wire: it keeps this from its users, a refused handshake too."""
        nls = _nls()
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            self._settle(error_of_http(status, ""), error)
        elif isinstance(error, nls.websocket.WebSocketProtocolException | nls.websocket.WebSocketPayloadException | ValueError):
            self._settle(Garbled("the gateway sent what is not WebSocket"), error)
        else:
            self._settle(Unreachable(f"the gateway cannot be reached: {type(error).__name__}"), error)

    def closed(self, *args: object) -> None:
        """The connection is gone; without an answer, too early."""
        self._settle(Unreachable("the gateway closed the WebSocket in the middle of a task"), ConnectionAbortedError("closed"))

    def hang_up(self) -> None:
        """Shuts the connection at once, from any thread; the SDK's `shutdown` would wait for the peer's Close, or leave a failed task's
        connection open."""
        self._over.set()
        core = getattr(self._client, f"_{type(self._client).__mro__[1].__name__}__nls", None)
        socket = getattr(getattr(core, "_NlsCore__ws", None), "sock", None)
        if socket is not None:
            with suppress(OSError, AttributeError):  # not connected yet, or gone meanwhile
                socket.abort()

    def _running(self) -> bool:
        return not self._over.is_set() and self._task.state is State.RUNNING

    def _speak(self) -> None:
        settings = self._settings.websocket
        size = frame_size(self._utterance.format.bytes_per_second, settings.frame)
        paced = settings.pace if self._task.namespace is Namespace.TRANSCRIBER else 0.0
        samples = memoryview(self._utterance.pcm)
        for start in range(0, len(samples), size):
            if not self._running():
                return
            self._client.send_audio(bytes(samples[start : start + size]))
            if paced:
                self._over.wait(settings.frame / paced)

    def _settle(self, outcome: Recognition | ProviderError, cause: BaseException | None = None) -> None:
        if isinstance(outcome, ProviderError):
            outcome.__cause__ = cause
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._deliver, outcome)

    def _deliver(self, outcome: Recognition | ProviderError) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Recognition):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)
            self.answer.exception()  # seen: a caller who left is not a lost error


def _nls() -> Any:
    """The SDK. Raises ConfigError: it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it compares a string with `is`
            nls = importlib.import_module("nls")
            importlib.import_module("nls.exception")
    except ImportError as error:
        raise ConfigError("transport sdk needs the vendor's package: pip install 'asrproxy[aliyun-sdk]'") from error
    # It would write every frame's errors to stderr; ours come out typed.
    for name in ("nls", "websocket"):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).disabled = True
    # Its handshake would follow a redirect, with the token: no other answer than 101 is good.
    importlib.import_module("nls.websocket._handshake")._get_resp_headers.__defaults__ = ((101,),)
    return nls


def _client_type(namespace: Namespace) -> Any:
    """The SDK's client, with a window where it keeps what it hears from its users: handshake errors never reach their `on_error`."""
    nls = _nls()
    base, inner = {
        Namespace.RECOGNIZER: (nls.NlsSpeechRecognizer, "_NlsSpeechRecognizer__sr_core_on"),
        Namespace.TRANSCRIBER: (nls.NlsSpeechTranscriber, "_NlsSpeechTranscriber__tr_core_on"),
    }[namespace]

    def init(self: Any, session: _Session, **kwargs: Any) -> None:
        base.__init__(self, **kwargs)
        self.session = session

    def on_message(self: Any, message: str, *args: Any) -> None:
        self.session.heard(message)
        getattr(base, f"{inner}_msg")(self, message, *args)

    def on_error(self: Any, error: BaseException, *args: Any) -> None:
        self.session.failed(error)

    return type(f"Heard{base.__name__}", (base,), {"__init__": init, f"{inner}_msg": on_message, f"{inner}_error": on_error})

"""The engine's own process: loads an engine, says so, and answers until the sidecar goes. Started as `python -m`, imports little."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from asrproxy_local.channel import Head, head_of_frame, receive_frame
from asrproxy_local.forks import Forks, end_with_parent
from asrproxy_local.heard import LoadedEngine, answer

FORKED: Final = frozenset({"moonshine"})
"""Engines of which every call gets a fork. Whisper's threads would not live on in one."""


def main() -> None:
    """argv: the file descriptor of the channel, the process id of the sidecar."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    end_with_parent(int(sys.argv[2]))
    for each in (signal.SIGINT, signal.SIGTERM):  # they are meant for the sidecar, which still drains
        signal.signal(each, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):
        settings, _ = receive_frame(channel)
        began = time.monotonic()
        try:
            engine = _load(settings)
        except Exception as error:  # whatever a library raises: the sidecar shows it to people
            channel.sendall(head_of_frame({"event": "failed", "message": f"{type(error).__name__}: {error}"}))
            return
        channel.sendall(head_of_frame({"event": "loaded", "seconds": round(time.monotonic() - began, 3)}))
        if settings["engine"] in FORKED:
            Forks(channel, engine).serve()
        else:
            _Threads(channel, engine, settings["concurrency"]).serve()
    os._exit(0)  # without waiting for what a thread still works on


def _load(settings: Mapping[str, Any]) -> LoadedEngine:
    engine: LoadedEngine = import_module(f"asrproxy_local.{settings['engine']}").load(settings)
    return engine


class _Threads:
    """Answers calls in threads. A call that is cancelled goes on; the sidecar ends the process if that takes too long."""

    def __init__(self, channel: socket.socket, engine: LoadedEngine, most: int) -> None:
        self._channel, self._engine = channel, engine
        self._pool = ThreadPoolExecutor(most)
        self._speaking = threading.Lock()

    def serve(self) -> None:
        while True:
            head, pcm = receive_frame(self._channel)
            if head["op"] == "recognize":
                self._pool.submit(self._answer, head, pcm)

    def _answer(self, head: Head, pcm: bytes) -> None:
        frame = head_of_frame({"id": head["id"]} | answer(self._engine, head["order"], pcm))
        with self._speaking, suppress(OSError):
            self._channel.sendall(frame)


if __name__ == "__main__":
    main()

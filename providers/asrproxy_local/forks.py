"""Answering each call in a fork of the loaded engine: its memory is shared, its state is as loaded, its end costs that call only."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import Final

from asrproxy_local.channel import Head, head_of_frame, receive_frame
from asrproxy_local.heard import LoadedEngine, answer

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(parent: int) -> None:
    """The kernel ends this process with the one that started it, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we had asked
        os._exit(0)


@dataclass(slots=True)
class _Fork:
    """A call being worked on. answer: what it has written so far."""

    call: int
    process: int
    answer: bytearray = field(default_factory=bytearray)


class Forks:
    """One thread that starts forks, gathers their answers and ends those that are cancelled."""

    def __init__(self, channel: socket.socket, engine: LoadedEngine) -> None:
        self._channel, self._engine = channel, engine
        self._waiting = selectors.DefaultSelector()
        self._forks: dict[int, _Fork] = {}
        self._channel_number = channel.fileno()

    def serve(self) -> None:
        """Until the sidecar goes: raises EOFError."""
        self._waiting.register(self._channel_number, selectors.EVENT_READ)
        while True:
            for key, _ in self._waiting.select():
                if key.fd == self._channel_number:
                    self._take(*receive_frame(self._channel))
                else:
                    self._gather(key.fd)

    def _take(self, head: Head, pcm: bytes) -> None:
        if head["op"] == "recognize":
            self._start(head, pcm)
            return
        for fork in self._forks.values():
            if fork.call == head["id"]:
                os.kill(fork.process, signal.SIGKILL)  # its pipe closes, the rest is as with any other end

    def _start(self, head: Head, pcm: bytes) -> None:
        ours, theirs = os.pipe()
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            try:
                end_with_parent(parent)
                self._channel.close()
                frame = head_of_frame({"id": head["id"]} | answer(self._engine, head["order"], pcm))
                with open(theirs, "wb") as pipe:
                    pipe.write(frame)
            finally:
                os._exit(0)
        os.close(theirs)
        self._forks[ours] = _Fork(head["id"], process)
        self._waiting.register(ours, selectors.EVENT_READ)

    def _gather(self, pipe: int) -> None:
        if piece := os.read(pipe, 2**16):
            self._forks[pipe].answer += piece
            return
        self._waiting.unregister(pipe)
        os.close(pipe)
        fork = self._forks.pop(pipe)
        _, status = os.waitpid(fork.process, 0)
        frame = bytes(fork.answer)
        if status or not frame:
            frame = head_of_frame({"id": fork.call, "crashed": _how(status)})
        self._channel.sendall(frame)


def _how(status: int) -> str:
    """What the kernel says about the end of a fork that gave no answer."""
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended without an answer (exit status {os.waitstatus_to_exitcode(status)})"

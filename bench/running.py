"""Processes under measurement: started, waited for, their CPU time and memory read from the operating system, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ASRPROXY = str(Path(sys.executable).parent / "asrproxy")
APPKEY, KEY_ID, KEY_SECRET = "bench-appkey", "bench-id", "bench-secret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A process and its children. cpu: seconds used so far, ended children included. rss: bytes now, all of them together."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self._root = psutil.Process(process.pid)
        self._ended: dict[int, float] = {}

    def cpu(self) -> float:
        total = 0.0
        for each in (self._root, *self._root.children(recursive=True)):
            try:
                times = each.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        own = self._root.cpu_times()
        return total + own.children_user + own.children_system

    def pids(self) -> list[int]:
        return [self._root.pid, *(each.pid for each in self._root.children(recursive=True))]

    def rss(self) -> int:
        total = 0
        for each in (self._root, *self._root.children(recursive=True)):
            try:
                total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total


@contextmanager
def started(
    command: Sequence[str], url: str, path: str = "/livez", *, within: float = 60.0, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The command while the context lasts, from the moment that `url` + `path` answers 200."""
    output = None if os.environ.get("BENCH_LOG") else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=output, env=environment)
    try:
        wait_for(process, url + path, within)
        yield Running(process, url)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process: subprocess.Popen[bytes], url: str, within: float) -> float:
    """Seconds until `url` answers 200."""
    began = time.perf_counter()
    while time.perf_counter() - began < within:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode} (BENCH_LOG=1 shows what it said)")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return time.perf_counter() - began
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.005)
    raise SystemExit(f"{url} did not answer within {within} s")


@contextmanager
def emulator(*flags: str, port: int | None = None) -> Iterator[Running]:
    port = port or free_port()
    credentials = ["--appkey", APPKEY, "--access-key-id", KEY_ID, "--access-key-secret", KEY_SECRET]
    command = [ASRPROXY, "emulate", "aliyun", "--port", str(port), *credentials, *flags]
    with started(command, f"http://127.0.0.1:{port}", "/_emulator/status") as running:
        yield running


def aliyun_configuration(gateway: str, *, listen: str, ops: str, policy: str = "{}", pool: int = 64, server: str = "") -> str:
    """server: more of its keys, each with a comma before it."""
    return f"""
server: {{listen: ["{listen}"], ops_listen: ["{ops}"]{server}}}
providers:
  aliyun:
    type: aliyun
    appkey: {APPKEY}
    access_key_id: {KEY_ID}
    access_key_secret: {KEY_SECRET}
    gateway_url: {gateway}
    token_url: {gateway}
    pool: {{size: {pool}, idle: 8s}}
policy: {policy}
log: {{level: warning}}
"""


@contextmanager
def sidecar(gateway: str, *, policy: str = "{}", pool: int = 64, server: str = "") -> Iterator[Running]:
    text = aliyun_configuration(gateway, listen="{listen}", ops="{ops}", policy=policy, pool=pool, server=server)
    with sidecar_of(text) as running:
        yield running


@contextmanager
def sidecar_of(text: str, *, ready: bool = True) -> Iterator[Running]:
    """A sidecar on the configuration `text`, in which {listen} and {ops} stand for its addresses."""
    port, ops = free_port(), free_port()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "asrproxy.yaml"
        file.write_text(text.replace("{listen}", f"127.0.0.1:{port}").replace("{ops}", f"127.0.0.1:{ops}"))
        with started([ASRPROXY, "serve", "-c", str(file)], f"http://127.0.0.1:{port}", "/readyz" if ready else "/livez") as running:
            yield running


@contextmanager
def forwarder(gateway: str, *, uvloop: bool = False, token: str | None = None) -> Iterator[Running]:
    """token: None, one is asked for."""
    port = free_port()
    command = [sys.executable, "-m", "bench.forwarder", "--port", str(port), "--gateway", gateway, *(["--uvloop"] if uvloop else [])]
    command += ["--token", token] if token is not None else []
    with started(command, f"http://127.0.0.1:{port}") as running:
        yield running


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it; where `BENCH_RESULTS` names a file, a line of JSON goes there too."""
    if (file := os.environ.get("BENCH_RESULTS")) is not None:
        with open(file, "a", encoding="utf-8") as results:
            results.write(json.dumps({"title": title, "head": list(head), "rows": [list(row) for row in rows]}, ensure_ascii=False) + "\n")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}")
    for row in (head, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

"""A vendor that costs next to nothing: nginx with fixed answers, or a bare asyncio protocol where answers have to take their time.

Both speak as much NLS and as much of OpenAI's transcription API as a measurement needs: any body, one answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.running import Running, free_port, started

TEXT = "今天天气很好我们一起去公园散步然后回家吃饭"
"""What five seconds hold: a shorter one would be asked for again."""
NLS = {"task_id": "0" * 32, "result": TEXT, "status": 20000000, "message": "SUCCESS"}
OPENAI = {"text": TEXT}

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log crit; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 4m; keepalive_requests 1000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  default_type application/json;
  {upstream}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /livez {{ return 200 '{{}}'; }}
    {locations}
  }}
}}
"""
ANSWERS = """
    location = /stream/v1/asr {{ return 200 '{nls}'; }}
    location = /v1/audio/transcriptions {{ return 200 '{openai}'; }}
    location = /v1/models {{ return 200 '{{"object": "list", "data": []}}'; }}
"""
FORWARDS = """
    location = /v1/recognize {{
      proxy_pass http://vendor/stream/v1/asr?appkey=bench&format=wav&sample_rate=16000;
      proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-NLS-Token bench; proxy_request_buffering on;
    }}
"""


@contextmanager
def _nginx(locations: str, upstream: str = "") -> Iterator[Running]:
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, port=port, locations=locations, upstream=upstream))
        with started([program, "-c", str(file)], f"http://127.0.0.1:{port}") as running:
            yield running


@contextmanager
def quick() -> Iterator[Running]:
    """Answers at once."""
    with _nginx(ANSWERS.format(nls=json.dumps(NLS, ensure_ascii=False), openai=json.dumps(OPENAI, ensure_ascii=False))) as running:
        yield running


@contextmanager
def floor(gateway: str) -> Iterator[Running]:
    """nginx as the forwarder: as little as a proxy can cost."""
    upstream = f"upstream vendor {{ server {gateway.removeprefix('http://')}; keepalive 256; keepalive_requests 1000000; }}"
    with _nginx(FORWARDS.format(), upstream) as running:
        yield running


@contextmanager
def slow(latency: float) -> Iterator[Running]:
    """Answers `latency` seconds after the whole request has come."""
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--latency", str(latency)]
    with started(command, f"http://127.0.0.1:{port}") as running:
        yield running


class Answering(asyncio.Protocol):
    """HTTP/1.1 as far as clients of a measurement speak it: headers, a length, a body; one request at a time on a connection."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._head = bytearray()
        self._left = -1
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._head[:end]).lower()
            rest = len(self._head) - end - 4
            self._head.clear()
            at = head.find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
            if b"expect: 100-continue" in head:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # type: ignore[attr-defined]
            if head.startswith(b"get"):
                self._write(b"{}")
                return
            self._answer = json.dumps(NLS if b"/stream/v1/asr" in head.split(b"\r\n", 1)[0] else OPENAI, ensure_ascii=False).encode()
            self._left = length - rest
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._left = -1
            asyncio.get_running_loop().call_later(self._latency, self._write, self._answer)

    def _write(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        if not self._transport.is_closing():
            self._transport.write(head + body)  # type: ignore[attr-defined]


async def _serve(port: int, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Answering(latency), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.port, arguments.latency))

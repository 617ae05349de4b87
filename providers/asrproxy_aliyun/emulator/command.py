"""`asrproxy emulate aliyun`: flags to an emulator that serves until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from asrproxy.plugin import Rate, Seconds

from .codes import HttpErrors
from .server import Emulator
from .settings import EmulatorSettings, Silence

PORT: Final = 8795


def command(argv: Sequence[str]) -> int:
    """argv: what stands after `asrproxy emulate aliyun`. Returns the exit status: 0 after SIGTERM or SIGINT, 1: it cannot start."""
    settings = _settings(list(argv))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except (OSError, ValueError) as error:
        print(f"asrproxy emulate aliyun: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: EmulatorSettings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Emulator(settings) as cloud:
        print(f"ready gateway={cloud.gateway_url} token={cloud.token_url} control={cloud.control_url}", flush=True)
        print(_snippet(cloud), flush=True)
        await ended.wait()


def _snippet(cloud: Emulator) -> str:
    lines = [
        "providers:",
        "  aliyun:",
        "    type: aliyun",
        f"    appkey: {cloud.appkey}",
        f"    access_key_id: {cloud.access_key_id}",
        f"    access_key_secret: {cloud.access_key_secret}",
        f"    gateway_url: {cloud.gateway_url}",
        f"    token_url: {cloud.token_url}",
    ]
    if cloud.settings.tls_cert is not None:
        lines.append(f"    ca_file: {cloud.settings.tls_cert}")
    return "\n".join(["# Paste this into asrproxy's configuration file:", *lines, "routes:", "  default: {providers: [aliyun]}"])


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _settings(argv: list[str]) -> EmulatorSettings:
    given = vars(_parser().parse_args(argv))
    # Neighbours of a port that was chosen may be taken by others; those of ours are ours.
    for number, name in enumerate(("token_port", "control_port"), start=1):
        if given[name] is None:
            given[name] = PORT + number if given["port"] == PORT else 0
    given["sample_rates"] = tuple(given["sample_rates"])
    return EmulatorSettings(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asrproxy emulate aliyun",
        description="Alibaba Cloud NLS on this machine: CreateToken, one sentence over HTTP and WebSocket, streaming, flash.",
        epilog="Its first line of output is `ready gateway=URL token=URL control=URL`. Everything else: docs/emulator.md.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults: dict[str, Any] = {each.name: each.default for each in fields(EmulatorSettings)}

    def flag(name: str, read: Callable[[str], Any], text: str, **more: Any) -> None:
        key = name.replace("-", "_")
        parser.add_argument(f"--{name}", dest=key, type=read, help=text, **{"default": defaults[key]} | more)

    flag("host", str, "address to listen on")
    flag("port", int, "of the gateway; 0 takes free ones", default=PORT)
    flag("token-port", int, f"of the token service; None is {PORT + 1}, beside another gateway port a free one", default=None)
    flag("control-port", int, f"of the control endpoint; None is {PORT + 2}, beside another gateway port a free one", default=None)
    flag("answers", str, "tones: reads the tone alphabet; local: recognises speech (extra local); text:WORDS: says these")
    flag("latency", _seconds, "between the last byte of audio and the answer, such as 0.8s")
    flag("latency-jitter", _seconds, "at most so much more, evenly drawn")
    flag("failure-rate", _share, "share of calls that fail, 0 to 1")
    flag("failure-status", int, "status code of those")
    flag("concurrency", _count, "calls at once, more are answered 40000005; none: any number")
    flag("rate", _rate, "calls a second such as 100/s, more are answered 40000005; none: any number")
    flag("token-lifetime", _seconds, "of a new token, such as 24h")
    flag("appkey", str, "the one that is taken")
    flag("access-key-id", str, "the one that is taken")
    flag("access-key-secret", str, "what calls of CreateToken have to be signed with")
    flag("security-token", str, "the only STS token that is taken; left out: any, or none")
    flag("longest", _seconds, "of a one-sentence call")
    flag("too-long-status", int, "status code of a longer one (the vendor's pages name none)")
    flag("sample-rates", int, "that the app key's model takes", nargs="+")
    flag("idle", _seconds, "a WebSocket with no frame for so long is ended")
    flag("data-gap", _seconds, "a transcription that only pings for so long is ended")
    flag("keep-alive", _seconds, "an unused HTTP connection is closed after so long")
    flag("silence", Silence, "audio without speech: an empty result, or error 40270002", choices=list(Silence))
    flag("http-errors", HttpErrors, "HTTP status of a failed REST call: by the code's class, or always 200", choices=list(HttpErrors))
    flag("timestamp-window", _seconds, "by which a signature's time may be off")
    flag("tls-cert", Path, "PEM file: gateway and token service speak TLS with it")
    flag("tls-key", Path, "PEM file; left out: it is in the certificate's")
    flag("seed", int, "makes failures and jitter repeatable")
    return parser


def _seconds(text: str) -> float:
    return _read(TypeAdapter(Seconds), float(text) if text.replace(".", "", 1).isdigit() else text)


def _rate(text: str) -> float | None:
    return None if text == "none" else _read(TypeAdapter(Rate), text)


def _count(text: str) -> int | None:
    return None if text == "none" else int(text)


def _share(text: str) -> float:
    if not 0.0 <= (share := float(text)) <= 1.0:
        raise argparse.ArgumentTypeError("expected a share from 0 to 1")
    return share


def _read(adapter: TypeAdapter[float], value: object) -> float:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{value!r}: {error.errors()[0]['msg']}") from None

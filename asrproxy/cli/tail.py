"""`asrproxy tail`: the last requests of a running sidecar, and those that come."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from asrproxy.cli.which import UrlOption, token, url_of

PAUSE: Final = 0.5
"""Seconds between two looks."""


def command(
    url: UrlOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=500, help="Requests to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were not answered well.")] = False,
    transcripts: Annotated[bool, typer.Option("--transcripts", help="What was said, too; only where log.transcripts keeps it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """Show the last requests of a running sidecar: when, how, by whom, how long; what was said only where it is kept and asked for."""
    try:
        looking = _tail(url_of(url), token(), lines, follow=follow, failed=failed, transcripts=transcripts, as_json=as_json)
        raise typer.Exit(asyncio.run(looking))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _tail(url: str, token: str | None, lines: int, *, follow: bool, failed: bool, transcripts: bool, as_json: bool) -> int:
    from asrproxy.cli.client import Failed, calling

    async with calling(url, token) as sidecar:
        try:
            await sidecar.reach()
            found = await sidecar.recent(after=0, limit=max(1, lines), transcripts=transcripts)
            for worker in found.get("unheard", ()):
                print(f"asrproxy: worker {worker} does not answer: its requests are not among these", file=sys.stderr)
            last, requests = found["last"], found["requests"] if lines else []
            while True:
                for request in requests:
                    if not failed or request["code"] is not None:
                        print(json.dumps(request, ensure_ascii=False) if as_json else line(request), flush=True)
                if not follow:
                    return 0
                await asyncio.sleep(PAUSE)
                found = await sidecar.recent(after=last, limit=500, transcripts=transcripts)
                last, requests = found["last"], found["requests"]
        except Failed as error:
            print(f"asrproxy: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
            return 0


def line(request: dict[str, Any]) -> str:
    """One request as a person reads it."""
    when = datetime.fromtimestamp(request["ended"]).strftime("%H:%M:%S")
    what = request["code"] or "ok"
    of = f"{request['audio_seconds']:.1f} s of audio" if request["audio_seconds"] else f"{request['bytes']} bytes"
    stages = " ".join(f"{name} {ms:.0f}" for name, ms in request["stages_ms"].items())
    by = request["provider"] or "-"
    head = f"{when} {request['status']} {what:<16} {request['ms']:>8.0f} ms  {request['endpoint']} {request['route'] or '-'} by {by}"
    text = "" if request.get("text") is None else "\n    " + json.dumps(request["text"], ensure_ascii=False)
    return f"{head}, {request['attempts']} calls, {of} [{stages}] {request['request_id']}{text}"

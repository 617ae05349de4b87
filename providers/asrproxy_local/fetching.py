"""Seeing to whisper's weights before its process is started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from asrproxy_local.process import NotLoaded
from asrproxy_local.settings import LocalSettings
from asrproxy_local.weights import PUT_THERE, fault

FETCHING: Final = 40 * 60.0
"""Seconds that fetching may take: 145 MB at 64 kB/s, or a larger model over a better line."""


async def prepare_whisper(settings: LocalSettings, cache: Path, told: Callable[[str], None]) -> Path:
    """The folder to load, with everything in it. told: hears that something is being fetched. Raises NotLoaded: what to do about it."""
    if settings.folder is not None:
        folder = settings.folder.expanduser()
        if wrong := await asyncio.to_thread(fault, folder, None):
            raise NotLoaded(f"folder: {wrong}; {PUT_THERE}")
        return folder
    folder = cache / "models" / f"whisper-{settings.model.replace('/', '--')}"
    wrong = await asyncio.to_thread(fault, folder, settings.model)
    if wrong is None:
        return folder
    if not settings.download:
        raise NotLoaded(
            f"{wrong}, and download is false: run python -m asrproxy_local.weights {folder} --model {settings.model}, or name a folder"
        )
    told(f"fetching the weights of whisper {settings.model}")
    await _fetch(folder, settings.model)
    return folder


async def _fetch(folder: Path, model: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "asrproxy_local.weights", str(folder), "--model", model),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(FETCHING):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise NotLoaded(f"whisper {model} could not be fetched within {FETCHING / 60:g} minutes") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # pip, too
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise NotLoaded(lines[-1] if lines else f"fetching whisper {model} ended with exit status {process.returncode}")

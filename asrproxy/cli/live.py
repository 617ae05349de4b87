"""A real call to each provider of a configuration, with a recording that ships here."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asrproxy.cli.client import Failed, Sidecar
from asrproxy.cli.columns import columns
from asrproxy.cli.inprocess import own_sidecar
from asrproxy.cli.recordings import Recording

if TYPE_CHECKING:
    from asrproxy.config.models import Configuration

SPEECH: Final = "he-might-even-have-been-made-amiable.flac"
"""3.3 s of English, a LibriVox reading (public domain): "He might even have been made amiable himself"."""


def answers(configuration: Configuration) -> int:
    """Shows a row for each provider. Returns 0: all of them answered, else 1. Raises ConfigError: one cannot start."""
    return asyncio.run(_answers(configuration))


async def _answers(configuration: Configuration) -> int:
    # Without routes of the file's own each provider is a route by its name.
    async with own_sidecar(configuration.model_copy(update={"routes": {}})) as sidecar:
        with as_file(files("asrproxy.cli") / SPEECH) as speech:
            rows = await asyncio.gather(*(_asked(sidecar, name, speech) for name in configuration.providers))
    print(columns([["PROVIDER", "ANSWERS", "SECONDS", ""], *rows]))
    return 0 if all(row[1] == "yes" for row in rows) else 1


async def _asked(sidecar: Sidecar, name: str, speech: Path) -> list[str]:
    began = time.monotonic()
    try:
        body = await sidecar.recognize(Recording(speech, "speech", Path("speech")), {"route": name}, timeout=None)
    except Failed as error:
        return [name, "no", f"{time.monotonic() - began:.2f}", str(error)]
    text = json.loads(body)["text"]
    return [name, "yes", f"{time.monotonic() - began:.2f}", f"heard: {text}" if text else "heard no words in three seconds of English"]

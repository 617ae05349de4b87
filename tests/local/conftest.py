"""Real recordings, and the embedded recogniser to hear them."""

from __future__ import annotations

import asyncio
import csv
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from asrproxy.plugin import AudioFormat, Context, Event, Host, Options, Recognition, Utterance
from asrproxy_local.provider import LocalProvider

RATE = 16_000
SENSE = Path(__file__).resolve().parents[1] / "data" / "speech" / "en-librivox-sense-0930.flac"
SAID = "He might even have been made amiable himself."
TWO_CITIES = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of"
    " belief, it was the epoch of incredulity, it was the season of light, it was the season of darkness, it was the spring of hope, it was"
    " the winter of despair, we had everything before us, we had nothing before us, we were all going direct to heaven, we were all going"
    " direct the other way. In short, the period was so far like the present period, that some of its noisiest authorities insisted on its"
    " being received, for good or for evil, in the superlative degree of comparison only."
)
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


def pcm_of(file: Path) -> bytes:
    """Mono s16le at 16 kHz."""
    with av.open(str(file)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [resampled for frame in container.decode(audio=0) for resampled in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).tobytes()


def package_recording(name: str) -> bytes:
    """A recording that the package moonshine-voice brings."""
    spec = find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return pcm_of(Path(spec.origin).parent / "assets" / name)


@dataclass(frozen=True)
class Running:
    """A started provider and what it announced."""

    provider: LocalProvider
    announced: list[Event]

    async def hear(self, pcm: bytes, *, within: float = 100.0, **options: Any) -> Recognition:
        deadline = asyncio.get_running_loop().time() + within
        return await self.provider.recognize(Utterance(pcm, AudioFormat(RATE)), Context("test", deadline, Options(**options)))

    @property
    def pid(self) -> int | None:
        found = self.provider.status()["pid"]
        assert found is None or isinstance(found, int)
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns when it holds; a test's time limit ends the waiting. For what the system does and nobody announces."""
        while not holds():
            await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.provider.health().ready)


@asynccontextmanager
async def started(cache: Path, **settings: Any) -> AsyncIterator[Running]:
    """The provider with these settings, started, and closed at the end."""
    announced: list[Event] = []
    provider = LocalProvider(LocalProvider.Settings.model_validate(settings), Host("local", announce=announced.append, cache=cache))
    try:
        await provider.start()
        yield Running(provider, announced)
    finally:
        await provider.aclose()


Local = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def local(tmp_path: Path) -> Local:
    """`async with local(engine="moonshine") as running`: the provider with these settings, its cache empty."""
    return partial(started, tmp_path)


@pytest.fixture(scope="session")
def whisper_cache() -> Path:
    """The cache with whisper's weights in it, fetched as a user's sidecar would; skipped only where no source has them."""
    cache = Host("local").cache
    folder = cache / "models" / "whisper-base"
    fetched = subprocess.run(
        [sys.executable, "-P", "-m", "asrproxy_local.weights", str(folder)], capture_output=True, text=True, timeout=600, check=False
    )
    if fetched.returncode:
        said = fetched.stderr.strip().splitlines()[-1]
        assert said.startswith("there are no weights"), fetched.stderr
        pytest.skip(f"whisper's weights can be had from nowhere: {said}")
    return cache


@dataclass(frozen=True)
class Recording:
    """A recording with what is said in it."""

    pcm: bytes
    text: str


@pytest.fixture(scope="session")
def recordings(shared_speech: Path) -> dict[str, list[Recording]]:
    """The shared recordings by language."""
    found: dict[str, list[Recording]] = {}
    with (shared_speech / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["language"], []).append(Recording(pcm_of(shared_speech / row["file"]), row["transcript"]))
    return found

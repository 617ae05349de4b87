"""The microphone, by sounddevice where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from asrproxy.cli.client import Failed
from asrproxy.cli.columns import columns
from asrproxy.cli.sound import FRAME, Sound

WANTED: Final = 16_000
HIGHEST: Final = 48_000
"""Hz that `/v1/stream` takes at most."""
_NO_PACKAGE: Final = "the microphone needs the package sounddevice: pip install 'asrproxy[listen]' (or name a file)"
_NO_LIBRARY: Final = "the microphone needs PortAudio: apt-get install libportaudio2 (or name a file)"
_NONE: Final = "no microphone was found (name a file)"


@asynccontextmanager
async def microphone(device: str | None) -> AsyncIterator[Sound]:
    """What it hears, from the first read on. device: its number or a part of its name, None: the system's. Raises Failed: there is none."""
    with _problems() as sound:
        chosen = int(device) if device is not None and device.isdecimal() else device
        if chosen is None and sound.default.device[0] < 0:
            raise Failed(_NONE)
        rate = _rate(sound, chosen)
        stream = sound.RawInputStream(samplerate=rate, device=chosen, channels=1, dtype="int16")
    try:
        yield Sound("pcm_s16le", rate, _heard(stream, int(rate * FRAME)))
    finally:
        stream.close()


async def _heard(stream: Any, frames: int) -> AsyncIterator[bytes]:
    """Where the session does not keep up, PortAudio lets samples go."""
    loop = asyncio.get_running_loop()
    with _problems():
        stream.start()
    reading: asyncio.Future[Any] | None = None
    try:
        while True:
            reading = loop.run_in_executor(None, stream.read, frames)
            with _problems():
                samples, _ = await asyncio.shield(reading)
            yield bytes(samples)
    finally:
        if reading is not None:
            await asyncio.wait([reading])  # it takes a tenth of a second, and must not find the stream closed
        stream.stop()


def devices() -> str:
    """What could be listened to, for people. Raises Failed."""
    with _problems() as sound:
        found = [(number, each) for number, each in enumerate(sound.query_devices()) if each["max_input_channels"]]
        rows = [[str(number), each["name"], f"{each['default_samplerate']:g} Hz"] for number, each in found]
    if not rows:
        raise Failed(_NONE)
    return columns([["NUMBER", "NAME", "RATE"], *rows])


@contextmanager
def _problems() -> Iterator[Any]:
    """sounddevice, whose troubles become lines that a person can act on."""
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise Failed(_NO_PACKAGE) from error
    except OSError as error:
        raise Failed(_NO_LIBRARY) from error
    try:
        yield sounddevice
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split()) or "no default device"
        raise Failed(f"no microphone can be used ({reason}): `asrproxy listen --devices` lists them; or name a file") from error


def _rate(sound: Any, device: int | str | None) -> int:
    """The rate that recognisers want, where the device has it; else its own."""
    try:
        sound.check_input_settings(device=device, channels=1, dtype="int16", samplerate=WANTED)
    except sound.PortAudioError:
        return min(HIGHEST, int(sound.query_devices(device, "input")["default_samplerate"]))
    return WANTED

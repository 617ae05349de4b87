"""A folder of recordings, a file each, named after what was heard and what was asked. Everything here blocks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from asrproxy.plugin import AudioFormat, Capabilities, ConfigError, Options, Recognition, Utterance
from asrproxy_replay.takes import Take
from asrproxy_replay.written import capabilities_body, capabilities_of, options_body, recognition_body, recognition_of, take_body, take_of

PROFILE: Final = "provider.json"
_ANSWER: Final = ".json"
_STREAM: Final = ".stream.json"
_DIGITS: Final = 32  # of the hash in a file's name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Profile:
    """Whose answers a folder holds, and what that provider could do."""

    type: str
    capabilities: Capabilities


class Unusable(Exception):
    """A recording cannot be read or written; the message says which and why."""


class Folder:
    """The recordings of one provider."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def profile(self) -> Profile | None:
        """None: nothing was recorded here. Raises ConfigError: the file is something else."""
        try:
            return self._read(PROFILE, lambda body: Profile(str(body["type"]), capabilities_of(body["capabilities"])))
        except Unusable as error:
            raise ConfigError(str(error)) from error

    def recorded(self) -> Profile:
        """Whose answers these are. Raises ConfigError: there are none."""
        profile = self.profile()
        if profile is None:
            raise ConfigError(
                f"{self.path} holds no recordings; make them once: mode record (or auto), the provider's type, keys and "
                "credentials below `provider`"
            )
        return profile

    def claim(self, profile: Profile) -> None:
        """Says whose answers are kept here from now on. Raises ConfigError: another type's are already, or nothing can be written."""
        before = self.profile()
        if before is not None and before.type != profile.type:
            raise ConfigError(f"{self.path} holds recordings of {before.type!r}; keep those of {profile.type!r} in another folder")
        if before != profile:
            try:
                self._write(PROFILE, {"type": profile.type, "capabilities": capabilities_body(profile.capabilities)})
            except Unusable as error:
                raise ConfigError(str(error)) from error

    def answer(self, utterance: Utterance, options: Options) -> Recognition | None:
        """What was answered to this audio with these options; None: it was not recorded. Raises Unusable."""
        return self._read(_name(utterance, options), lambda body: recognition_of(body["answer"]))

    def keep(self, utterance: Utterance, options: Options, answer: Recognition) -> None:
        """Keeps an answer in the place of an older one. Raises Unusable."""
        heading = _heading(len(utterance.pcm), utterance.format, options)
        self._write(_name(utterance, options), heading | {"answer": recognition_body(answer)})

    def takes(self, format: AudioFormat, options: Options) -> list[Take]:
        """The live streams in this format with these options, in the order of their files' names. Raises Unusable."""
        asked = options_body(options)

        def taken(body: Any) -> Take | None:
            same = body["audio"]["sample_rate"] == format.sample_rate and body["options"] == asked
            return take_of(body["stream"]) if same else None

        found = (self._read(each.name, taken) for each in sorted(self.path.glob(f"*{_STREAM}")))
        return [take for take in found if take is not None]

    def keep_take(self, format: AudioFormat, options: Options, take: Take) -> None:
        """Keeps a live stream in the place of an older one. Raises Unusable."""
        name = _hash(format, options, bytes.fromhex(take.end.sha256)) + _STREAM
        self._write(name, _heading(take.end.bytes, format, options) | {"stream": take_body(take)})

    def _read(self, name: str, read: Callable[[Any], T]) -> T | None:
        file = self.path / name
        try:
            return read(json.loads(file.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unusable(f"{file} cannot be read ({type(error).__name__}: {error}); remove it and record again") from error

    def _write(self, name: str, body: object) -> None:
        """Beside its place first, so that nobody reads half of it."""
        beside = self.path / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            beside.replace(self.path / name)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise Unusable(f"{self.path / name} cannot be written: {error.strerror or error}") from error


def _name(utterance: Utterance, options: Options) -> str:
    return _hash(utterance.format, options, utterance.pcm) + _ANSWER


def _hash(format: AudioFormat, options: Options, content: bytes | memoryview) -> str:
    """Of the audio, its rate, and what was asked for."""
    digest = hashlib.sha256(json.dumps([format.sample_rate, options_body(options)], sort_keys=True).encode())
    digest.update(content)
    return digest.hexdigest()[:_DIGITS]


def _heading(length: int, format: AudioFormat, options: Options) -> dict[str, Any]:
    """For people who look into the file; streams are chosen by it. length: bytes."""
    audio = {"seconds": round(length / format.bytes_per_second, 3), "sample_rate": format.sample_rate}
    return {"audio": audio, "options": options_body(options)}

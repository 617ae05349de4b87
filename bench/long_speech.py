"""Error rates of real speech of ten minutes: stitched by the sidecar, beside its pieces one by one and beside cutting every 59 s.

    python -m bench.long_speech [--minutes 10] [--pauses 0.4 1.5] [--speech ../shared/speech] [--only english chinese]

Recordings of sentences are joined in random order, each followed by a pause with the noise of a room, until they are long enough. The
provider is `local`: moonshine for English, whisper for Chinese (its weights have to be there). Recordings come from the
folder `--speech` where there is one (`manifest.tsv` says what is said in them),
from tests/data/speech and from the package moonshine-voice.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from asrproxy.testing import tones
from asrproxy.text.join import join
from bench.long_audio import ask
from bench.running import ASRPROXY, Running, free_port, started, table
from tests.local.conftest import BECKETT, RATE, SAID, SENSE, TWO_CITIES, package_recording, pcm_of
from tests.local.error_rates import character_errors, word_errors

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"
FIXED = 59
ROOM = 12.0  # rms of 16-bit samples, -69 dB of full scale
CHOICES = {"english": ("en", "moonshine"), "chinese": ("zh", "whisper")}
ENGINES = {"moonshine": "moonshine_voice", "whisper": "faster_whisper"}

Errors = Callable[[Sequence[str], Sequence[str]], float]


@dataclass(frozen=True)
class Sentence:
    """What is said in mono s16le samples at RATE."""

    name: str
    pcm: bytes
    text: str


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--pauses", type=float, nargs=2, default=(0.4, 1.5), metavar=("SHORTEST", "LONGEST"))
    arguments.add_argument("--speech", type=Path, default=SHARED)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", nargs="*", choices=sorted(CHOICES), default=sorted(CHOICES))
    asked = arguments.parse_args()
    rows = []
    for name in asked.only:
        language, engine = CHOICES[name]
        if find_spec(ENGINES[engine]) is None:
            print(f"{name} is left out: {ENGINES[engine]} is not installed")
        elif not (sentences := list(spoken(language, asked.speech))):
            print(f"{name} is left out: no recordings")
        else:
            errors = word_errors if language == "en" else character_errors
            rows += measured(name, engine, sentences, asked, errors)
    head = ("speech", "how", "calls", "text", "errors", "against one by one")
    table(f"Error rates, {asked.minutes:g} min with pauses of {asked.pauses[0]:g} to {asked.pauses[1]:g} s", head, rows)


def spoken(language: str, folder: Path) -> Iterator[Sentence]:
    """Recordings in a language: the folder's, and those that are there anyway."""
    manifest = folder / "manifest.tsv"
    if manifest.exists():
        with manifest.open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if row["language"] == language:
                    yield Sentence(row["file"], pcm_of(folder / row["file"]), row["transcript"])
    else:
        print(f"there is no {manifest}: its recordings are left out")
        if language == "en":
            yield Sentence(SENSE.name, pcm_of(SENSE), SAID)
    if language == "en":
        yield Sentence("two_cities.wav", package_recording("two_cities.wav"), TWO_CITIES)
        yield Sentence("beckett.wav", package_recording("beckett.wav"), BECKETT)


def measured(name: str, engine: str, sentences: Sequence[Sentence], asked: argparse.Namespace, errors: Errors) -> list[tuple[str, ...]]:
    chance = random.Random(asked.seed)
    said: list[Sentence] = []
    parts: list[bytes] = [room(chance, 0.5)]
    while sum(map(len, parts)) < asked.minutes * 60 * RATE * 2:
        said.append(chance.choice(sentences))
        parts += [said[-1].pcm, room(chance, chance.uniform(*asked.pauses))]
    pcm = b"".join(parts)
    language = CHOICES[name][0]
    with local(engine, language) as running:
        alone = {each.name: text_of(running, room(chance, 0.3) + each.pcm + room(chance, 0.3)) for each in sentences}
        stitched = {"stitched": ask(running, tones.to_wav(pcm, RATE), words=False)}
        if engine == "whisper":  # moonshine has no word times
            stitched["stitched, with word times"] = ask(running, tones.to_wav(pcm, RATE), words=True)
        step = FIXED * RATE * 2
        fixed = [text_of(running, pcm[first : first + step]) for first in range(0, len(pcm), step)]
    reference = join([each.text for each in said], language)
    texts = {
        "one by one": (len(said), join([alone[each.name] for each in said], language)),
        **{how: (sum(each["attempts"] for each in answer["segments"]), answer["text"]) for how, answer in stitched.items()},
        f"cut every {FIXED} s": (len(fixed), join(fixed, language)),
    }
    rates = {how: errors([reference], [text]) for how, (_, text) in texts.items()}
    size = f"{len(reference.split())} words" if language == "en" else f"{len(reference)} characters"
    return [
        (name, how, str(calls), size, f"{100 * rates[how]:.2f} %", f"{100 * (rates[how] - rates['one by one']):+.2f}")
        for how, (calls, _) in texts.items()
    ]


def room(chance: random.Random, seconds: float) -> bytes:
    """The noise of a room in which nobody speaks."""
    noise = np.random.default_rng(chance.getrandbits(32)).normal(0, ROOM, round(seconds * RATE))
    return noise.astype("<i2").tobytes()


def text_of(running: Running, pcm: bytes) -> str:
    answer: Any = ask(running, tones.to_wav(pcm, RATE), words=False)
    return str(answer["text"])


@contextmanager
def local(engine: str, language: str) -> Iterator[Running]:
    port, ops = free_port(), free_port()
    settings = {
        "server": {"listen": [f"127.0.0.1:{port}"], "ops_listen": [f"127.0.0.1:{ops}"]},
        "providers": {"local": {"type": "local", "engine": engine, "language": "zh-CN" if language == "zh" else "en"}},
        "policy": {"attempt_timeout": "10m", "timeout": {"base": "1h"}, "limits": {"queue_timeout": "1h"}},
        "log": {"level": "warning"},
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "asrproxy.yaml"
        file.write_text(json.dumps(settings))
        with started([ASRPROXY, "serve", "-c", str(file)], f"http://127.0.0.1:{port}", "/readyz", within=300) as running:
            yield running


if __name__ == "__main__":
    main()

"""Damaged recordings of every codec through the pool of decoders: what crashes it, what hangs it, what it grows to.

    python -m bench.fuzz_decode [--inputs 50000] [--seed 0] [--minutes M] [--keep FOLDER]

An input is made from its number and the seed alone, so that each can be made again; those that end a process are kept in the folder.
An input that was ended at the time limit is tried once more by itself: on a busy machine the first time says nothing. The exit status is
1 where anything crashed or hung.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from asrproxy.audio.decode import Decoders
from asrproxy.audio.spool import Spool
from asrproxy.errors import AsrError
from asrproxy.model import AudioFormat
from bench.running import table
from tests.audio.audio_encoding import NAMES, recording

TEXT: Final = "天地"
HANG: Final = 2.0
"""Seconds in which a decoder has to get on."""
LONGEST: Final = 60.0
WORKERS: Final = 2
SAMPLED: Final = 500
"""Inputs between two looks at the processes' memory."""
MAGIC: Final = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xff\xfb",
    b"OggS",
    b"fLaC",
    b"data",
)


@dataclass
class Found:
    """outcomes: inputs by how they ended. ended: those that cost a process, by name. memory: MiB of all decoders, in turn; own: ours."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ended: dict[str, str] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """The input of that number: the recording's name, and its bytes."""
    chance = random.Random(f"{seed}/{number}")
    name = NAMES[number % len(NAMES)]
    data = bytearray(recording(name, TEXT))
    for _ in range(chance.choice((1, 1, 3, 10, 100))):
        _damage(data, chance)
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) + 1) :]
    return name, bytes(data)


def _damage(data: bytearray, chance: random.Random) -> None:
    if not data:
        return
    at = chance.randrange(min(400, len(data)) if chance.random() < 0.6 else len(data))
    match chance.randrange(7):
        case 0:
            data[at] = chance.randrange(256)
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            magic = chance.choice(MAGIC)
            data[at : at + len(magic)] = magic
        case 3:
            del data[at : at + chance.choice((1, 2, 4, 50, 1000))]
        case 4:
            data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 50)))
        case 5:
            data[at:at] = data[at : at + chance.choice((4, 50, 1000))] * chance.choice((1, 2, 5))
        case _:
            other = recording(chance.choice(NAMES), TEXT)
            start = chance.randrange(len(other))
            data[at : at + 200] = other[start : start + 200]


async def fuzz(numbers: Iterator[int], seed: int, *, until: float | None = None, keep: Path | None = None) -> Found:
    """until: a moment on the loop's clock at which no further input is begun."""
    found = Found()
    decoders = Decoders(decoder="av", workers=WORKERS, idle=60.0, timeout=HANG, memory=512 * 2**20)
    time = asyncio.get_running_loop().time

    async def work() -> None:
        for number in numbers:
            if until is not None and time() > until:
                return
            name, data = damaged(seed, number)
            outcome = await _outcome(decoders, data)
            if outcome.startswith("hung"):
                async with alone:
                    outcome = await _outcome(decoders, data)
            found.inputs += 1
            found.outcomes[outcome.partition(":")[0]] += 1
            if outcome.startswith(("crashed", "hung")):
                found.ended[f"{seed}-{number}-{name}"] = outcome
                if keep is not None:
                    (keep / f"{seed}-{number}-{name}").write_bytes(data)
            if found.inputs % SAMPLED == 0:
                _sample(decoders, found)

    alone = asyncio.Lock()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())
        _sample(decoders, found)
    finally:
        await decoders.aclose()
    return found


async def _outcome(decoders: Decoders, data: bytes) -> str:
    body = Spool.of(data)
    try:
        async with decoders.decode(body, AudioFormat(16_000), raw=None, whole=10.0, longest=LONGEST) as blocks:
            async for _ in blocks:
                pass
    except AsrError as error:
        ended = "crashed" in str(error) or "was ended" in str(error)
        return f"{'crashed' if 'crashed' in str(error) else 'hung'}: {error}" if ended else type(error).__name__
    finally:
        body.close()
    return "decoded"


def _sample(decoders: Decoders, found: Found) -> None:
    status = decoders.status()
    pids = [*status["busy"], *status["idle"]]  # type: ignore[misc]
    found.memory.append(max((psutil.Process(pid).memory_info().rss for pid in pids), default=0) / 2**20)
    found.own.append(psutil.Process().memory_info().rss / 2**20)


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=50_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float)
    options.add_argument("--keep", type=Path)
    chosen = options.parse_args()
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    began = asyncio.get_running_loop().time()
    until = None if chosen.minutes is None else began + 60 * chosen.minutes
    found = await fuzz(iter(range(chosen.inputs)), chosen.seed, until=until, keep=chosen.keep)
    seconds = asyncio.get_running_loop().time() - began
    title = f"{found.inputs} inputs from {len(NAMES)} recordings in {seconds:.0f} s"
    table(title, ["outcome", "inputs"], [[name, str(count)] for name, count in found.outcomes.most_common()])
    quarter = max(1, len(found.memory) // 4)
    for what, figures in (("largest decoder", found.memory), ("this process", found.own)):
        first, last = figures[:quarter], figures[-quarter:]
        early, late = sum(first) / len(first), sum(last) / len(last)
        print(f"{what}: {early:.0f} MiB in the first quarter, {late:.0f} in the last, {max(figures):.0f} at most")
    for name, how in found.ended.items():
        print(f"{name}: {how}")
    return 1 if found.ended else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

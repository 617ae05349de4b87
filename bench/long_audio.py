"""Measures long recordings: what is lost or doubled, how many calls they cost, and what an hour takes of memory, processor and time.

    python -m bench.long_audio [--recordings 200] [--longest 30] [--jobs 2] [--only exact periodic cost killed hour four]

Recordings are tone speech (asrproxy.testing), so text and times are known to the symbol. `exact` asks a sidecar with the provider `fake`;
`periodic` has it recordings with neither pauses nor word times in which a few symbols are said over and over, the worst there is for a
seam; `hour` and `four` (hours) ask one with `aliyun` against an emulator in its own process that says a fixed text after 0.8 s. Memory is
the sum of the RSS of the sidecar and its decoder over what the sidecar had before its first request; pages that the two share count twice.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import psutil

from asrproxy.testing import tones
from asrproxy.testing.tones import Score
from bench.running import ASRPROXY, Running, emulator, free_port, sidecar, started, table

LATENCY = 0.8
CONCURRENCY = 8
SEGMENT = 59
CLOSE = 0.02  # seconds that a symbol's time may be off
MIB = 1 << 20
PARTS = ("exact", "periodic", "cost", "killed", "hour", "four")

# name: container, codec, rates, layouts
FORMS: dict[str, tuple[str, str, Sequence[int], Sequence[str]]] = {
    "wav": ("wav", "pcm_s16le", (8_000, 16_000, 22_050, 44_100), ("mono", "stereo")),
    "mulaw": ("wav", "pcm_mulaw", (8_000,), ("mono",)),
    "flac": ("flac", "flac", (16_000, 44_100), ("mono",)),
    "mp3": ("mp3", "libmp3lame", (16_000, 44_100), ("mono", "stereo")),
    "aac": ("adts", "aac", (16_000, 44_100), ("mono",)),
    "opus": ("ogg", "libopus", (16_000, 48_000), ("mono",)),
    "webm": ("webm", "libopus", (48_000,), ("mono",)),
}
PRIMING = {"aac": 1024}
"""Samples of silence that an encoder puts in front where the container (ADTS) has no way to say so: they are in the caller's audio."""
HASTY: dict[str, dict[str, str]] = {
    "libmp3lame": {"compression_level": "9"},
    "aac": {"aac_coder": "fast"},
    "libopus": {"compression_level": "0"},
}
"""Encoders' options for many recordings: a worse encoder is a harder test, and a quicker one."""
UNFRAMED = {"write_xing": "0", "id3v2_version": "0"}
"""MP3 of frames alone, so that recordings can be put one after the other."""

BARE = """
import sys, time, av
began = time.process_time()
count = 0
with av.open(sys.argv[1]) as container:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
    for frame in container.decode(audio=0):
        for each in resampler.resample(frame):
            count += len(bytes(each.planes[0]))
print(time.process_time() - began)
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--recordings", type=int, default=20)
    arguments.add_argument("--longest", type=float, default=30, help="minutes of a random recording at most")
    arguments.add_argument("--first", type=int, default=0, help="seed of the first random recording")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that make recordings")
    arguments.add_argument("--only", nargs="*", choices=PARTS, default=PARTS[:-1])
    asked = arguments.parse_args()
    if "exact" in asked.only:
        exact(range(asked.first, asked.first + asked.recordings), asked.longest, asked.jobs)
    if "periodic" in asked.only:
        periodic(asked.recordings)
    if "cost" in asked.only:
        cost(10)
    if "killed" in asked.only:
        killed()
    if "hour" in asked.only:
        long_one("MP3, 44.1 kHz stereo", five_minutes(), repeats=12)
        wav = encoded(tones.dictation(3600, seed=1), "wav", "pcm_s16le", 16_000, "mono")
        long_one("WAV, 16 kHz mono (next to nothing to decode)", wav, repeats=1)
    if "four" in asked.only:
        long_one("MP3, 44.1 kHz stereo", five_minutes(), repeats=48)


@dataclass
class Tally:
    """What came of the recordings so far."""

    recordings: int = 0
    seconds: float = 0.0
    symbols: int = 0
    calls: int = 0
    lost: int = 0
    doubled: int = 0
    flagged: int = 0
    spoilt: list[str] = field(default_factory=list)
    worst: float = 0.0
    late: int = 0


@dataclass(frozen=True)
class Made:
    """A random recording in a file, and what is to be asked of it."""

    name: str
    file: Path
    score: Score
    words: bool
    later: float  # seconds by which everything is in the file


def exact(seeds: Sequence[int], longest: float, jobs: int) -> None:
    """Random recordings, half of them with words: symbols lost and doubled, and how far off the times are."""
    tallies = {"words": Tally(), "text only": Tally()}
    began = time.monotonic()
    with TemporaryDirectory() as folder, fake() as running:
        for number, each in enumerate(made_ahead(seeds, longest, Path(folder), jobs), 1):
            answer = ask(running, each.file, words=each.words)
            each.file.unlink()
            check(tallies["words" if each.words else "text only"], each.score, answer, each.name, each.words, each.later)
            if number % 10 == 0:
                wrong = sum(tally.lost + tally.doubled for tally in tallies.values())
                print(f"{number} of {len(seeds)} after {time.monotonic() - began:.0f} s, symbols lost or too many: {wrong}", flush=True)
    table(
        "Random recordings, each symbol once and in order",
        ("answers", "recordings", "hours", "symbols", "calls", "lost", "too many", "seams in doubt", "times over 20 ms off", "worst"),
        [
            (
                name, str(tally.recordings), f"{tally.seconds / 3600:.1f}", str(tally.symbols), str(tally.calls), str(tally.lost),
                str(tally.doubled), str(tally.flagged),
                *((str(tally.late), f"{tally.worst * 1000:.0f} ms") if name == "words" else ("-", "-")),
            )
            for name, tally in tallies.items()
        ],
    )  # fmt: skip
    for spoilt in (*tallies["words"].spoilt, *tallies["text only"].spoilt):
        print(spoilt)


def made_ahead(seeds: Sequence[int], longest: float, folder: Path, jobs: int) -> Iterator[Made]:
    """Recordings in order, made by other processes while the one before is being recognised; one more than they are waits in the folder."""
    with ProcessPoolExecutor(jobs) as pool:
        ahead: deque[Future[Made]] = deque()
        for seed in seeds:
            ahead.append(pool.submit(made, seed, longest, folder))
            if len(ahead) > jobs:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def made(seed: int, longest: float, folder: Path) -> Made:
    chance = random.Random(seed)
    score = random_score(chance, chance.uniform(1, longest) * 60)
    form = chance.choice(sorted(FORMS))
    container, codec, rates, layouts = FORMS[form]
    rate, layout = chance.choice(rates), chance.choice(layouts)
    file = folder / str(seed)
    file.write_bytes(encoded(score, container, codec, rate, layout, hasty=True))
    return Made(f"{seed}: {form} {rate} {layout}", file, score, words=seed % 2 == 0, later=PRIMING.get(form, 0) / rate)


def periodic(recordings: int) -> None:
    """2 to 40 symbols over and over for two to six minutes, without a pause and by text alone: what is lost, what is kept twice."""
    rows = []
    with fake() as running:
        for least, most in ((2, 8), (9, 16), (17, 40)):
            tally, seams = Tally(), 0
            for seed in range(recordings):
                chance = random.Random(5000 + 100 * most + seed)
                said = "".join(chance.sample(tones.CHARACTERS, k=chance.randint(least, most)))
                score = tones.compose([said * round(chance.uniform(120, 360) / (len(said) * (tones.SYMBOL + tones.GAP)))])
                answer = ask(running, tones.to_wav(score.render(8_000), 8_000), words=False)
                check(tally, score, answer, str(seed), False)
                seams += len(answer["segments"]) - 1
            rows.append((f"{least} to {most}", str(tally.symbols), str(seams), str(tally.flagged), str(tally.lost), str(tally.doubled)))
    head = ("symbols until they repeat", "symbols", "forced cuts", "segments in doubt", "lost", "too many")
    table(f"{recordings} recordings each of the same said over and over, no pause, no word times", head, rows)


def random_score(chance: random.Random, seconds: float) -> Score:
    """Phrases with pauses, now and then a long silence, now and then over a minute without any pause."""
    symbol, gap = chance.uniform(0.12, 0.2), chance.uniform(0.03, 0.08)
    parts: list[str | float] = []
    now = 0.0
    while now < seconds:
        kind = chance.random()
        if kind < 0.02:
            size, rest = round(chance.uniform(62, 140) / (symbol + gap)), chance.uniform(0.4, 1)
        else:
            size, rest = chance.randint(3, 40), chance.uniform(5, 40) if kind > 0.98 else chance.uniform(0.15, 1.5)
        parts += ["".join(chance.choices(tones.CHARACTERS, k=size)), rest]
        now += size * (symbol + gap) + rest
    return tones.compose(parts, symbol=symbol, gap=gap)


def check(tally: Tally, score: Score, answer: Any, name: str, words: bool, later: float = 0.0) -> None:
    tally.recordings += 1
    tally.seconds += score.duration
    tally.symbols += len(score.symbols)
    tally.calls += len(answer["segments"])
    tally.flagged += sum(segment.get("suspect", False) for segment in answer["segments"])
    expected = "".join(symbol.text for symbol in score.symbols)
    if answer["text"] != expected:
        lost, doubled = differences(expected, answer["text"])
        tally.lost, tally.doubled = tally.lost + lost, tally.doubled + doubled
        tally.spoilt.append(f"{name}: {lost} lost, {doubled} too many")
    elif words:
        worst = 0.0
        heard = [word for segment in answer["segments"] for word in segment["words"]]
        assert len(heard) == len(score.symbols), "words and text differ"
        for word, symbol in zip(heard, score.symbols, strict=True):
            off = max(abs(word["start"] - symbol.start - later), abs(word["end"] - symbol.end - later))
            worst, tally.late = max(worst, off), tally.late + (off > CLOSE)
        tally.worst = max(tally.worst, worst)
        if worst > CLOSE:
            tally.spoilt.append(f"{name}: a symbol is {worst * 1000:.0f} ms off")


def differences(expected: str, text: str) -> tuple[int, int]:
    """Symbols lost, and symbols too many: what the two have in common in this order is the most that they can have."""
    most = common(expected, text)
    return len(expected) - most, len(text) - most


def common(one: str, other: str) -> int:
    """Length of the longest common subsequence: a bit for each symbol of `one`, all of a row at once (Hyyro, 2004)."""
    places: dict[str, int] = {}
    for place, symbol in enumerate(one):
        places[symbol] = places.get(symbol, 0) | 1 << place
    everything = row = (1 << len(one)) - 1
    for symbol in other:
        met = row & places.get(symbol, 0)
        row = (row + met | row - met) & everything
    return len(one) - row.bit_count()


def cost(recordings: int) -> None:
    """Calls where somebody pauses every 15 s or so."""
    rows = []
    with fake() as running:
        for seed in range(recordings):
            chance = random.Random(1000 + seed)
            parts: list[str | float] = []
            for _ in range(round(chance.uniform(10, 30) * 4)):
                size = round(chance.uniform(8, 22) / (tones.SYMBOL + tones.GAP))
                parts += ["".join(chance.choices(tones.CHARACTERS, k=size)), chance.uniform(0.35, 1.2)]
            score = tones.compose(parts)
            answer = ask(running, tones.to_wav(score.render(8_000), 8_000), words=False)
            fewest = math.ceil(score.duration / SEGMENT)
            rows.append((score.duration, len(answer["segments"]), fewest, answer["text"] == score.text))
    calls, fewest = sum(row[1] for row in rows), sum(row[2] for row in rows)
    table(
        "Calls where there is a pause every 8 to 22 s",
        ("recordings", "hours", "calls", "ceil(seconds / 59)", "ratio", "worst", "texts exact"),
        [
            (
                str(recordings), f"{sum(row[0] for row in rows) / 3600:.1f}", str(calls), str(fewest), f"{calls / fewest:.3f}",
                f"{max(row[1] / row[2] for row in rows):.3f}", str(sum(row[3] for row in rows)),
            )
        ],
    )  # fmt: skip


def killed() -> None:
    """The vendor is killed at half time of an hour and comes back; the same recording is asked for again."""
    score = tones.dictation(3600, seed=3)
    recording = encoded(score, "wav", "pcm_s16le", 16_000, "mono")
    half = math.ceil(score.duration / SEGMENT) // 2
    with ExitStack() as clouds:
        cloud = clouds.enter_context(emulator())
        port = urlsplit(cloud.url).port
        with sidecar(cloud.url, policy="{retries: {attempts: 1}, circuit: {reset: 1s}, limits: {rate: null}}") as running:
            error = ask_until(running, recording, half, clouds.close)["error"]
            with emulator(port=port):
                answer = ask(running, recording, words=False)
    counted = sum(not segment.get("cached", False) for segment in answer["segments"])
    segments, exact_text = len(answer["segments"]), str(answer["text"] == score.text)
    table(
        "The vendor killed at half time of an hour, brought back, asked again",
        ("segments", "first answer", "finished in it", "called the second time", "remembered", "text exact"),
        [(str(segments), error["code"], str(len(error["segments"])), str(counted), str(segments - counted), exact_text)],
    )


def ask_until(running: Running, body: bytes, segments: int, then: Callable[[], None]) -> Any:
    """Streams; calls `then` when so many segments were told. The data of the last event."""
    where = urlsplit(running.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=1800)
    connection.request("POST", "/v1/recognize?stream=true", body, {"Content-Type": "application/octet-stream"})
    told, data = 0, b"{}"
    for line in connection.getresponse():
        if line.startswith(b"event: segment"):
            told += 1
            if told == segments:
                then()
        elif line.startswith(b"data: "):
            data = line[6:]
    connection.close()
    return json.loads(data)


def long_one(what: str, piece: bytes, *, repeats: int) -> None:
    """A recording of `repeats` pieces: memory, processor time against bare decoding, time against the vendor's latency."""
    warming = encoded(tones.dictation(75, seed=2), "mp3", "libmp3lame", 44_100, "stereo")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "long"
        file.write_bytes(piece * repeats)
        bare = bare_seconds(file)
        text = "".join(random.Random(1).choices(tones.CHARACTERS, k=200))
        policy = f"{{long_audio: {{concurrency: {CONCURRENCY}, remember: {{enabled: false}}}}, limits: {{rate: null}}}}"
        # The cloud answers from the samples' length alone: its own work is not to be in the way on a small machine.
        with emulator("--latency", f"{LATENCY}s", "--answers", f"text:{text}") as cloud, sidecar(cloud.url, policy=policy) as running:
            fresh = running.rss()
            ask(running, warming, words=False)  # imports are done, decoders and connections are open
            warm, before, decoder = running.rss(), running.cpu(), -decoders_cpu(running)
            began = time.perf_counter()
            with peak(running) as highest:
                answer = ask(running, file, words=False)
            wall, used = time.perf_counter() - began, running.cpu() - before
            decoder += decoders_cpu(running)
        bare = (bare + bare_seconds(file)) / 2  # before and after: what else the machine does hits both sides
    calls = len(answer["segments"])
    rounds = math.ceil(calls / CONCURRENCY) * LATENCY
    hours, size = answer["duration"] / 3600, len(piece) * repeats / MIB
    table(
        f"{hours:.0f} h of {what}, {size:.0f} MiB, {calls} calls, {CONCURRENCY} at a time, {LATENCY} s each",
        ("what", "measured", "against", "ratio"),
        [
            ("peak RSS, sidecar with decoder", mib(highest[0]), f"fresh {mib(fresh)}", f"+{mib(highest[0] - fresh)}"),
            ("", "", f"after a first long one, decoder resting {mib(warm)}", f"+{mib(highest[0] - warm)}"),
            ("processor time", f"{used:.2f} s", f"bare decode and resample {bare:.2f} s", f"{used / bare:.2f}"),
            ("  of it the decoder", f"{decoder:.2f} s", "the same", f"{decoder / bare:.2f}"),
            ("wall time", f"{wall:.2f} s", f"ceil(n / {CONCURRENCY}) * {LATENCY} s = {rounds:.1f} s", f"{wall / rounds:.2f}"),
        ],
    )


def bare_seconds(file: Path) -> float:
    """Processor seconds of PyAV's own decoding and resampling, in a process without anything else."""
    return float(subprocess.run([sys.executable, "-c", BARE, str(file)], capture_output=True, check=True).stdout)


def mib(count: int) -> str:
    return f"{count / MIB:.0f} MiB"


def decoders_cpu(running: Running) -> float:
    """Seconds that the sidecar's decoders have used so far."""
    return sum(sum(each.cpu_times()[:2]) for each in psutil.Process(running.process.pid).children())


def five_minutes() -> bytes:
    return encoded(tones.dictation(300, seed=1), "mp3", "libmp3lame", 44_100, "stereo", UNFRAMED)


@contextmanager
def peak(running: Running) -> Iterator[list[int]]:
    """The highest RSS while the context lasts, looked at every 20 ms."""
    highest, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            highest[0] = max(highest[0], running.rss())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


@contextmanager
def fake() -> Iterator[Running]:
    port, ops = free_port(), free_port()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "asrproxy.yaml"
        settings = {
            "server": {"listen": [f"127.0.0.1:{port}"], "ops_listen": [f"127.0.0.1:{ops}"], "max_body": "1GiB"},
            "providers": {"tones": {"type": "fake"}},
            "log": {"level": "warning"},
        }
        file.write_text(json.dumps(settings))
        with started([ASRPROXY, "serve", "-c", str(file)], f"http://127.0.0.1:{port}", "/readyz") as running:
            yield running


def ask(running: Running, body: bytes | Path, *, words: bool) -> Any:
    where = urlsplit(running.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=1800)
    with io.BytesIO(body) if isinstance(body, bytes) else body.open("rb") as content:
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        connection.request("POST", f"/v1/recognize?words={str(words).lower()}", content, headers)
        answer = connection.getresponse()
        said = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {said.decode()}")
    return json.loads(said)


def encoded(
    score: Score, container: str, codec: str, rate: int, layout: str, options: dict[str, str] | None = None, *, hasty: bool = False
) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options or {}) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout=layout, options=HASTY.get(codec, {}) if hasty else {})
        if codec == "libmp3lame":
            stream.bit_rate = 96_000  # four hours within server.max_body
        channels = len(av.AudioLayout(layout).channels)
        mono = np.frombuffer(score.render(rate), "<i2")
        step = rate * 10
        for first in range(0, len(mono), step):
            samples = np.ascontiguousarray(np.repeat(mono[first : first + step], channels).reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, first
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


if __name__ == "__main__":
    main()

"""What is written in tones is heard again, with its times, whatever became of the audio on the way."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrproxy.testing.tones import (
    ALPHABET,
    CHARACTERS,
    SHORTEST,
    Score,
    Symbol,
    compose,
    decode,
    dictation,
    synthesize,
    text_of,
    to_wav,
    words_of,
)

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
texts = st.text(st.sampled_from(ALPHABET), max_size=12)
lossy = settings(max_examples=6, deadline=None)


def heard(pcm: bytes, sample_rate: int) -> str:
    return "".join(each.text for each in decode(pcm, sample_rate))


def written(score: Score) -> str:
    return "".join(each.text for each in score.symbols)


@given(texts, st.sampled_from(RATES), st.floats(0.08, 0.3), st.floats(0, 0.3), st.floats(0.02, 0.98))
@settings(max_examples=80, deadline=None)
def test_every_symbol_is_heard_within_20_ms_of_its_time(text: str, rate: int, symbol: float, gap: float, amplitude: float) -> None:
    score = compose([text], symbol=symbol, gap=gap)
    found = decode(score.render(rate, amplitude=amplitude), rate)
    assert "".join(each.text for each in found) == text
    for wanted, got in zip(score.symbols, found, strict=True):
        assert abs(wanted.start - got.start) < 0.02
        assert abs(wanted.end - got.end) < 0.02


@given(texts.filter(bool), st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_anywhere_loses_or_keeps_the_symbol_it_goes_through_and_never_makes_another(text: str, data: st.DataObject) -> None:
    score = compose([text], gap=data.draw(st.sampled_from([0.0, 0.06])))
    pcm = score.render(16_000)
    cut = data.draw(st.integers(0, len(pcm) // 2))
    before, after = heard(pcm[: 2 * cut], 16_000), heard(pcm[2 * cut :], 16_000)
    through = sum(each.start < cut / 16_000 < each.end for each in score.symbols)
    assert text.startswith(before)
    assert text.endswith(after)
    assert len(text) - through <= len(before) + len(after) <= len(text)


@given(texts, st.floats(0.003, 3.0))
@settings(max_examples=20, deadline=None)
def test_gain_and_overdriving_do_not_matter(text: str, gain: float) -> None:
    samples = np.frombuffer(synthesize(text), "<i2") * gain
    assert heard(np.clip(samples, -32768, 32767).astype("<i2").tobytes(), 16_000) == text


@given(texts, st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_noise_ten_decibels_below_does_not_matter(text: str, seed: int) -> None:
    samples = np.frombuffer(synthesize(text), "<i2").astype(float)
    noise = np.random.default_rng(seed).normal(0, 0.25 * 32767 / 10**0.5, len(samples))
    assert heard(np.clip(samples + noise, -32768, 32767).astype("<i2").tobytes(), 16_000) == text


@given(st.integers(0, 2**32 - 1), st.sampled_from(RATES))
@settings(max_examples=10, deadline=None)
def test_noise_and_silence_alone_are_nothing(seed: int, rate: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 3000, 2 * rate).astype("<i2").tobytes()
    assert decode(noise, rate) == []
    assert decode(bytes(2 * rate), rate) == []
    assert decode(b"", rate) == []


@pytest.mark.parametrize(
    ("container", "options"),
    [
        # Left to choose, the encoder takes its speech coder for some stretches: that is made for voices and loses tones.
        ("ogg", ["-c:a", "libopus", "-b:a", "24k", "-application", "lowdelay"]),
        ("mp3", ["-c:a", "libmp3lame", "-b:a", "64k"]),
        ("wav", ["-ar", "8000", "-c:a", "pcm_mulaw"]),
        ("wav", ["-ar", "8000", "-c:a", "pcm_alaw"]),
        ("adts", ["-c:a", "aac", "-b:a", "48k"]),
    ],
    ids=["opus 24k", "mp3 64k", "mu-law", "A-law", "aac 48k"],
)
@given(seed=st.integers(0, 10_000), gap=st.sampled_from([0.0, 0.06]))
@lossy
def test_lossy_codecs_do_not_matter(container: str, options: list[str], seed: int, gap: float) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("the ffmpeg program is not installed")
    score = dictation(10, seed=seed, alphabet=ALPHABET, gap=gap)
    encoded = _ffmpeg(score.render(16_000), "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0", *options, "-f", container, "pipe:1")
    assert heard(_ffmpeg(encoded, "-i", "pipe:0", "-f", "s16le", "-ar", "16000", "-ac", "1", "pipe:1"), 16_000) == written(score)


@given(seed=st.integers(0, 10_000), gap=st.sampled_from([0.0, 0.06]))
@lossy
def test_a_mobile_telephone_does_not_matter(seed: int, gap: float) -> None:
    score = dictation(10, seed=seed, alphabet=ALPHABET, gap=gap)
    assert heard(_through_amr(score.render(8_000)), 8_000) == written(score)


@given(st.integers(0, 10_000), st.floats(1, 40), st.one_of(st.none(), st.just((0.35, 1.2))))
@settings(max_examples=30, deadline=None)
def test_a_dictation_fills_its_time_and_is_the_same_for_the_same_seed(
    seed: int, seconds: float, pauses: tuple[float, float] | None
) -> None:
    score = dictation(seconds, seed=seed, pauses=pauses)
    assert score == dictation(seconds, seed=seed, pauses=pauses)
    assert seconds - 1.6 < score.duration <= seconds + 1e-6
    assert all(before.end <= after.start + 1e-9 for before, after in zip(score.symbols, score.symbols[1:], strict=False))


def test_a_dictation_without_pauses_has_none() -> None:
    score = dictation(20, pauses=None, gap=0)
    assert all(abs(before.end - after.start) < 1e-6 for before, after in zip(score.symbols, score.symbols[1:], strict=False))
    assert heard(score.render(), 16_000) == written(score)


def test_the_alphabet_has_no_symbol_twice_and_begins_as_the_classic_does() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 100
    assert CHARACTERS.startswith("天地玄黄宇宙洪荒")


def test_letters_are_words_and_characters_are_words_each() -> None:
    found = decode(synthesize("hello world 天地 a1", 8_000), 8_000)
    assert text_of(found) == "hello world天地a1"
    assert [each.text for each in words_of(found)] == ["hello", "world", "天", "地", "a1"]


def test_a_pause_is_as_long_as_it_is_said_to_be() -> None:
    first, second = compose(["天", 0.8, "地"], lead=0.5, tail=1.0).symbols
    assert (first, second) == (Symbol("天", 0.5, 0.62), Symbol("地", pytest.approx(1.42), pytest.approx(1.54)))


def test_what_cannot_be_sounded_is_refused() -> None:
    with pytest.raises(ValueError, match="'龍' is not in the tone alphabet"):
        synthesize("龍")
    with pytest.raises(ValueError, match="too short"):
        synthesize("天", symbol=SHORTEST)
    with pytest.raises(ValueError, match="8000 is the least"):
        decode(b"", 4_000)


def test_a_wav_file_is_one() -> None:
    with wave.open(io.BytesIO(to_wav(bytes(32), 44_100, 2))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (44_100, 2, 2, 8)


def test_real_speech_is_not_tones(shared_speech) -> None:  # type: ignore[no-untyped-def]
    if not shutil.which("ffmpeg"):
        pytest.skip("the ffmpeg program is not installed")
    for recording in shared_speech.glob("*.flac"):
        assert decode(_ffmpeg(recording.read_bytes(), "-i", "pipe:0", "-f", "s16le", "-ar", "16000", "-ac", "1", "pipe:1"), 16_000) == []


def _ffmpeg(data: bytes, *arguments: str) -> bytes:
    return subprocess.run(["ffmpeg", "-v", "error", *arguments], input=data, capture_output=True, check=True).stdout


def _through_amr(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="amr") as container:
        stream = container.add_stream("libopencore_amrnb", rate=8_000)
        stream.layout, stream.bit_rate = "mono", 12_200
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 8_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    file.seek(0)
    resampler = av.AudioResampler("s16", "mono", 8_000)
    with av.open(file) as container:
        return b"".join(bytes(piece.to_ndarray().tobytes()) for frame in container.decode(audio=0) for piece in resampler.resample(frame))

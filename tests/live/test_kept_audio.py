"""What is kept of a live session: enough to be heard again from the last sentence on, and no more however long the session is."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from asrproxy.kept import KeptAudio

RATE = 200  # bytes a second


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fed(kept: KeptAudio, clock: Clock, seconds: int, *, speaking: bool, pace: float = 1.0) -> int:
    """Gives so much audio, a second at a time at `pace` times real time; returns the most bytes that were kept."""
    most = 0
    for _ in range(seconds):
        kept.append(bytes(RATE))
        kept.given(kept.end, speaking=speaking)
        most = max(most, kept.end - kept.begin)
        clock.now += 1 / pace
    return most


def test_hours_of_silence_keep_twenty_seconds() -> None:
    clock = Clock()
    kept = KeptAudio(RATE, time=clock)
    assert 20 * RATE <= fed(kept, clock, 4 * 3600, speaking=False) <= 22 * RATE


def test_a_sentence_without_an_end_keeps_two_minutes() -> None:
    clock = Clock()
    kept = KeptAudio(RATE, time=clock)
    assert fed(kept, clock, 3600, speaking=True) == 120 * RATE


def test_what_was_sent_fast_is_kept_though_nobody_has_noticed_a_sentence_yet() -> None:
    clock = Clock()
    kept = KeptAudio(RATE, time=clock)
    fed(kept, clock, 100, speaking=False, pace=50)
    assert kept.begin == 0


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("give"), st.booleans()),
        st.tuples(st.just("settle"), st.floats(0, 30)),
        st.tuples(st.just("wait"), st.floats(0, 12)),
    ),
    max_size=60,
)


@given(ACTIONS, st.integers(0, 2**32))
def test_what_is_kept_is_the_end_of_the_stream_and_nothing_that_is_needed_is_let_go(actions: list[tuple[str, float]], seed: int) -> None:
    clock, chance = Clock(), random.Random(seed)
    kept = KeptAudio(RATE, time=clock)
    stream = b""
    given_at: list[tuple[float, int]] = []
    settled = 0
    for what, value in actions:
        if what == "append":
            samples = chance.randbytes(2 * int(value))
            stream += samples
            kept.append(samples)
        elif what == "give":
            given_at.append((clock.now, kept.end))
            kept.given(kept.end, speaking=bool(value))
        elif what == "settle":
            moment = min(value, len(stream) / RATE)
            kept.settled(moment)
            settled = max(settled, int(moment * RATE))
        else:
            clock.now += value
        assert kept.begin % 2 == 0
        assert kept.end == len(stream)
        assert kept.part(kept.begin, kept.end) == stream[kept.begin :]
        older = max((position for moment, position in given_at if moment <= clock.now - 20), default=0)
        assert kept.begin <= max(settled, older)  # two minutes are never reached here

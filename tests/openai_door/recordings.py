"""What the clients send: tone speech that the fake hears."""

from __future__ import annotations

from asrproxy.testing.tones import compose, synthesize, to_wav

TEXT = "天地玄黄"
WAV = to_wav(synthesize(TEXT), 16_000)
SECONDS = (len(WAV) - 44) / 32_000

PHRASES = ("天地玄黄", "宇宙洪荒", "日月盈昃")
LONG = to_wav(compose([PHRASES[0], 4.0, PHRASES[1], 4.0, PHRASES[2]]).render(), 16_000)
"""More than one utterance of a vendor that takes five seconds; the pauses are too long to be sent, so each phrase is a segment."""

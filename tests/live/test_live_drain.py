"""SIGTERM in the middle of a session: what ends by itself ends well, and what does not gets its sentences and is told."""

from __future__ import annotations

import signal
from pathlib import Path

from asrproxy.testing import tones
from tests.lifecycle.test_lifecycle_process import FAKE, serving
from tests.live.speaking import Speaker, symbols

FIRST, SECOND = tones.synthesize("天地玄黄", tail=1.0), tones.synthesize("宇宙洪荒", tail=0.0)


async def test_a_session_that_ends_before_the_limit_ends_well(tmp_path: Path) -> None:
    async with serving(tmp_path) as running, running.api.ws_connect("/v1/stream") as socket:
        speaker = Speaker(socket)
        await speaker.begin()
        await speaker.say(FIRST)
        await speaker.hear("final")
        running.process.send_signal(signal.SIGTERM)
        await running.logged("draining")
        await speaker.say(SECOND)
        await speaker.stop()
        assert symbols((await speaker.rest())[-1]["text"]) == "天地玄黄宇宙洪荒"
        assert await running.process.wait() == 0


async def test_a_session_without_an_end_gets_its_sentences_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "asrproxy.yaml").write_text(FAKE.format(folder=tmp_path, latency="0s").replace("drain: 10s", "drain: 4s"))
    async with serving(tmp_path) as running, running.api.ws_connect("/v1/stream") as socket:
        speaker = Speaker(socket)
        await speaker.begin()
        await speaker.say(FIRST + SECOND)
        await speaker.hear("final")
        running.process.send_signal(signal.SIGTERM)
        told = await speaker.rest()
        assert [symbols(each["text"]) for each in speaker.finals] == ["天地玄黄", "宇宙洪荒"]
        assert (told[-1]["type"], told[-1]["error"]["code"], told[-1]["error"]["retryable"]) == ("error", "draining", True)
        assert socket.close_code == 1001
        assert await running.process.wait() == 0
        assert "drain limit reached" not in {line["event"] for line in running.lines}

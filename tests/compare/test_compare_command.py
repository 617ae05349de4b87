"""`asrproxy compare`: two vendors on recordings of one's own, and what a running sidecar's shadow has found."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from asrproxy.testing import tones
from tests.recognize.conftest import Start

TWO = """
providers:
  a: {type: fake, price: {per_call: 0.004, currency: CNY}}
  b: {type: fake, script: [{text: 天地玄皇, times: always}]}
routes: {default: {providers: [a]}}
"""


async def run(*words: str) -> tuple[int | None, str, str]:
    program = str(Path(sys.executable).parent / "asrproxy")
    process = await asyncio.create_subprocess_exec(
        program, "compare", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "two.yaml").write_text(TWO)
    (tmp_path / "calls").mkdir()
    for name, text in (("one", "天地玄黄"), ("two", "天地玄黄宇宙")):
        (tmp_path / "calls" / f"{name}.wav").write_bytes(tones.to_wav(tones.synthesize(text, 16_000), 16_000))
    (tmp_path / "said.tsv").write_text("one.wav\t天地玄黄\ntwo.wav\t天，地玄黄宇宙。\n")
    return tmp_path


async def test_error_rates_differences_time_and_cost_are_in_one_table(folder: Path) -> None:
    status, out, err = await run("a", "b", str(folder / "calls"), "-c", str(folder / "two.yaml"), "--references", str(folder / "said.tsv"))
    assert (status, err) == (0, "")
    assert re.search(r"one\.wav +\S+ +1/4 +0/4 +\S+ +1/4 +\S+\n", out)
    assert re.search(r"two\.wav +\S+ +3/6 +0/6 +\S+ +3/6 +\S+\n", out)
    assert re.search(r"^a +0\.0 % .* 0\.008 CNY$", out, re.MULTILINE)
    assert re.search(r"^b +40\.0 % .* -$", out, re.MULTILINE)
    assert "differ in 4 of 10 words or characters (40.0 %)" in out


async def test_json_lines_and_a_page_that_stands_alone(folder: Path) -> None:
    page = folder / "report.html"
    words = ("a", "b", str(folder / "calls" / "one.wav"), "-c", str(folder / "two.yaml"), "--json", "--report", str(page))
    status, out, err = await run(*words)
    assert (status, err) == (0, f"written: {page}\n")
    (line,) = [json.loads(each) for each in out.splitlines()]
    assert line["sides"]["b"]["text"] == "天地玄皇"
    assert (line["apart"], line["said"]) == ({"edits": 1, "tokens": 4}, None)
    text = page.read_text("utf-8")
    assert "天地玄<mark>皇</mark>" in text
    assert "<svg" in text
    assert not re.search(r"(src|href)=", text)


async def test_what_was_said_may_stand_beside_the_recording(folder: Path) -> None:
    (folder / "calls" / "one.txt").write_text("天地玄皇\n")
    _, out, _ = await run("a", "b", str(folder / "calls" / "one.wav"), "-c", str(folder / "two.yaml"), "--json")
    line = json.loads(out)
    assert [line["sides"][side]["wrong"]["edits"] for side in "ab"] == [1, 0]


async def test_a_recording_that_fails_is_said_and_the_others_are_compared(folder: Path) -> None:
    (folder / "calls" / "bad.wav").write_bytes(b"no audio at all")
    status, out, err = await run("a", "b", str(folder / "calls"), "missing.wav", "-c", str(folder / "two.yaml"))
    assert status == 1
    assert "one.wav" in out
    assert "two.wav" in out
    assert re.search(r"bad\.wav: (invalid_audio|unsupported_media)", err)
    assert "missing.wav: no such file" in err


async def test_what_a_running_sidecars_shadow_has_found(start: Start, folder: Path) -> None:
    text = TWO.replace("[a]}", "[a], shadow: {provider: b, fraction: 1.0}}") + 'server: {listen: ["127.0.0.1:0"], ops_listen: []}\n'
    async with start(text) as client:
        await client.post((folder / "calls" / "one.wav").read_bytes())
        while (await client.get("/v1/status"))[1]["routes"]["default"]["shadow"]["compared"] == 0:
            await asyncio.sleep(0)
        status, out, err = await run("--url", client.sidecar.url)
        assert (status, err) == (0, "")
        assert re.search(r"^default +b +1 +0 +0 +25\.0 % .*0\.004 CNY +-$", out, re.MULTILINE)
        _, out, _ = await run("--url", client.sidecar.url, "--json")
        assert json.loads(out)["route"] == "default"


@pytest.mark.parametrize("words", [("a",), ("a", "b"), ("--references", "x"), ("a", "b", "c.wav", "--url", "http://x", "-c", "y")])
async def test_a_call_that_makes_no_sense_is_refused_in_words(words: tuple[str, ...]) -> None:
    status, _, err = await run(*words)
    assert status == 2
    assert "Traceback" not in err

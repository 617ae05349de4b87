"""Speaking into the page: the browser's own microphone and AudioWorklet, with a file as the voice."""

from __future__ import annotations

import base64

import pytest
from playwright.async_api import Page, expect

from asrproxy.testing import tones
from tests.page.conftest import SERVER, SPOKEN, TONES, Open, Start, script

pytestmark = pytest.mark.asyncio(loop_scope="module")
WATCH = """() => {
  window.interims = [];
  new MutationObserver(() => {
    const text = document.querySelector(".interim:not(.empty)")?.textContent;
    if (text && text !== window.interims.at(-1)) window.interims.push(text);
  }).observe(document.getElementById("detail"), { subtree: true, childList: true, characterData: true });
}"""


HEARD = """() => new Promise((resolve) => {
  const reader = Object.assign(new FileReader(), { onload: () => resolve(reader.result.split(",")[1]) });
  reader.readAsDataURL(document.getElementById("list").firstChild.recording.blob);
})"""


async def speak(page: Page) -> None:
    await page.get_by_role("button", name="Record").click()
    await expect(page.get_by_role("button", name="Stop").first).to_be_visible()


async def test_text_appears_while_it_is_being_spoken(start: Start, look: Open) -> None:
    async with start() as running, look(running, microphone=True) as page:
        await page.evaluate(WATCH)
        await speak(page)
        log = page.get_by_role("log")
        for spoken in SPOKEN:  # as they end, with the microphone still open
            await expect(log).to_contain_text(spoken)
        interims = await page.evaluate("window.interims")
        assert any(each in SPOKEN[0] and each != SPOKEN[0] for each in interims), f"no sentence was seen growing: {interims}"
        assert (await running_status(page))["in_flight"] == 1
        level = page.get_by_role("meter", name="Input level")
        assert await level.get_attribute("aria-valuenow") is not None
        await page.locator(".stop").click()
        await expect(page.locator("#list > li.done")).to_have_count(1)
        assert await page.locator(".segment .text").all_inner_texts() == SPOKEN
        # It is a recording like any other now: it can be heard, seen, written to a file.
        await expect(page.get_by_role("button", name="Play")).to_be_enabled()
        heard = base64.b64decode(await page.evaluate(HEARD))
        rate = int.from_bytes(heard[24:28], "little")
        assert tones.text_of(tones.decode(heard[44:], rate)) == "".join(SPOKEN)
        peaks = await page.evaluate("[...document.getElementById('list').firstChild.recording.waveform.peaks]")
        assert max(peaks) > 0.1
        async with page.expect_download() as coming:
            await page.get_by_role("button", name="Download as SRT").click()
        assert "宇宙洪荒" in (await (await coming.value).path()).read_text("utf-8")
        assert (await running_status(page))["in_flight"] == 0


async def running_status(page: Page) -> dict[str, int]:
    status: dict[str, int] = await page.evaluate("fetch('v1/status').then((answer) => answer.json())")
    return status


async def test_a_provider_that_cannot_stream_serves_it_too(start: Start, look: Open) -> None:
    async with (
        start(TONES.replace("type: fake", "type: fake, capabilities: {streaming: false}")) as running,
        look(running, microphone=True) as page,
    ):
        await speak(page)
        await expect(page.locator("#detail")).to_contain_text("text comes after each pause")
        await expect(page.get_by_role("log")).to_contain_text(SPOKEN[1])
        await page.locator("#record").click()  # the same button stops
        await expect(page.locator("#list > li.done")).to_have_count(1)


async def test_a_session_that_fails_keeps_the_recording_and_what_was_heard(start: Start, look: Open) -> None:
    async with (
        start(SERVER + "providers: {tones: {type: fake}}\npolicy: {retries: {attempts: 1}}") as running,
        look(running, microphone=True) as page,
    ):
        behaviour = script(running)
        behaviour.hold()
        behaviour.fail("unavailable")
        await speak(page)
        await behaviour.arrived()
        await expect(page.locator(".live-clock")).to_have_text("0:03")  # the voice is heard, the provider is silent
        behaviour.release()
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("The provider failed")
        await expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()  # the microphone is closed
        await problem.get_by_role("button", name="Recognise the recording as a file").click()
        await expect(page.locator("#list > li.done")).to_have_count(1)
        await expect(page.locator(".segment .text").first).to_contain_text(SPOKEN[0][:2])


async def test_a_microphone_that_is_refused_is_explained(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await page.get_by_role("button", name="Record").click()
        await expect(page.locator(".mic-problem")).to_contain_text("The microphone was refused")
        await expect(page.locator("#list-area")).to_be_hidden()
        await expect(page.get_by_role("button", name="Record")).to_be_enabled()


async def test_removing_what_is_being_spoken_closes_the_microphone(start: Start, look: Open) -> None:
    async with start() as running, look(running, microphone=True) as page:
        await speak(page)
        await expect(page.get_by_role("log")).to_contain_text(SPOKEN[0])
        await page.locator(".remove").click()
        await expect(page.get_by_role("button", name="Record")).to_be_visible()
        await script(running).idle()
        await expect(page.locator("#list-area")).to_be_hidden()

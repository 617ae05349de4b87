"""Languages, colours, widths, and what a screen reader gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.page.conftest import SERVER, Open, Start, choose, file, script, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")
AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"


async def test_it_speaks_the_browsers_language_and_can_be_told_another(start: Start, look: Open) -> None:
    async with start() as running:
        async with look(running, locale="zh-CN") as page:
            await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
            await expect(page.get_by_role("heading", level=1)).to_have_text("语音进，文字出")
            await choose(page, file("call.wav", wav("天地玄黄")))
            await expect(page.locator("#list > li.done")).to_contain_text("完成")
            await page.get_by_role("button", name="Switch to English").click()
            await expect(page.locator("html")).to_have_attribute("lang", "en")
            await expect(page.locator("#list > li.done")).to_contain_text("Done")
            await expect(page.get_by_role("button", name="Play")).to_be_visible()
            await expect(page.locator(".segments")).to_have_attribute("lang", "zh-CN")  # the transcript keeps its own
            await page.reload()
            await expect(page.locator("html")).to_have_attribute("lang", "en")
        async with look(running, locale="fr-FR") as page:
            await expect(page.locator("html")).to_have_attribute("lang", "en")


async def test_every_text_is_there_in_both_languages(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        shapes = await page.evaluate("""async () => {
          const { TEXTS } = await import(new URL("page/texts.js", location.href));
          const kind = (text) => Array.isArray(text) ? text.length : typeof text === "object" ? shape(text) : typeof text;
          const shape = (texts) => Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, kind(text)]));
          return [shape(TEXTS.en), shape(TEXTS.zh)];
        }""")
    assert shapes[0] == shapes[1]
    from asrproxy.api.problems import FACES, INTERNAL, METHOD_NOT_ALLOWED

    codes = {face.code for face in (*FACES.values(), INTERNAL, METHOD_NOT_ALLOWED)}
    assert codes <= set(shapes[0]["problems"])  # every error that the API has, a person can act on


async def test_no_text_is_asked_for_that_is_not_there(start: Start, look: Open) -> None:
    import re

    static = Path(__file__).parents[2] / "asrproxy" / "api" / "page" / "static"
    texts = (static / "texts.js").read_text()
    used = set(re.findall(r'data-t(?:-label|-title)?="(\w+)"', (static / "index.html").read_text()))
    for each in static.glob("*.js"):
        used |= {
            key for match in re.findall(r'\bt\(([^()]*?"[\w-]+"[^()]*?)[,)]', each.read_text()) for key in re.findall(r'"([\w-]+)"', match)
        }
    known = set(re.findall(r'^  "?([\w-]+)"?:', texts.partition("const zh")[0], re.MULTILINE))
    assert len(used) > 80
    assert {key for key in used if key not in known} <= {"unauthorized", "closed"}


async def test_colours_follow_the_system_until_they_are_chosen(start: Start, look: Open) -> None:
    async def dark(page: Page) -> bool:
        red, green, blue = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
        return red + green + blue < 200

    async with start() as running, look(running, color_scheme="dark") as page:
        assert await dark(page)
        await page.emulate_media(color_scheme="light")
        assert not await dark(page)
        button = page.locator("#theme")
        await expect(button).to_have_accessible_name("Colours: as the system has them")
        await button.click()
        await button.click()
        await expect(button).to_have_accessible_name("Colours: dark")
        assert await dark(page)
        await page.reload()
        assert await dark(page)
        await button.click()
        await page.reload()
        assert not await dark(page)


@pytest.mark.parametrize("width", [360, 1440])
async def test_nothing_sticks_out_at_any_width(start: Start, look: Open, width: int) -> None:
    async with start() as running, look(running, viewport={"width": width, "height": 800}) as page:
        for locale in ("en", "zh"):
            for step in range(3):
                if step == 1:
                    await choose(
                        page, file("a-very-long-name-of-a-recording-that-nobody-would-ever-give-2024-11-30.wav", wav("天地玄黄" * 8))
                    )
                    await expect(page.locator("#list > li").first).to_have_class("done")
                if step == 2:
                    await page.goto(running.url + "/#/status")
                    await page.locator(".provider").wait_for()
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, (locale, step)
            await page.goto(running.url + "/#/transcribe")
            await page.locator("#language").click()


async def test_there_is_no_motion_for_those_who_want_none(start: Start, look: Open) -> None:
    async with start() as running, look(running, reduced_motion="reduce") as page:
        script(running).hold()
        await choose(page, file("call.wav", wav("天")))
        await page.locator(".bar").wait_for()
        assert await page.evaluate("document.getAnimations().length") == 0
        script(running).release()
        await expect(page.locator("#list > li.done")).to_have_count(1)


async def test_landmarks_names_and_live_regions(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        for role in ("banner", "main"):
            await expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
        await expect(page.get_by_role("navigation", name="Views")).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_have_count(1)
        await expect(page.get_by_role("link", name="Transcribe")).to_have_attribute("aria-current", "page")
        await choose(page, file("call.wav", wav("天地玄黄")))
        await expect(page.get_by_role("status")).to_have_text("call.wav: done.")
        await expect(page.get_by_role("list", name="Transcript")).to_be_visible()
        slider = page.get_by_role("slider")
        assert await slider.get_attribute("aria-valuetext")
        unnamed = await page.evaluate("""() => [...document.querySelectorAll("button, select, input, a, [role=slider]")]
          .filter((each) => each.checkVisibility())
          .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length))
          .map((each) => each.outerHTML)""")
        assert unnamed == []


async def test_axe_finds_nothing(start: Start, look: Open) -> None:
    """WCAG 2.2 AA and best practices, in both sets of colours, with a transcript, an error and the status on the screen."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in tests/page/node")
    text = SERVER + (
        "providers: {tones: {type: fake}, down: {type: fake, script: [{times: always, error: unavailable}]}}\n"
        "routes: {default: {providers: [tones]}, bad: {providers: [down]}}\npolicy: {retries: {attempts: 1}, circuit: {failures: 1}}"
    )
    async with start(text) as running:
        for scheme in ("light", "dark"):
            async with look(running, color_scheme=scheme, reduced_motion="reduce") as page:
                source = AXE.read_text()
                assert await broken(page, source) == []
                await choose(page, file("call.wav", wav("天地玄黄")))
                await expect(page.locator("#list > li.done")).to_have_count(1)
                await page.locator(".stamp").click()
                assert await broken(page, source) == []
                await page.locator("#options-open").click()
                await page.get_by_label("Route").select_option("bad")
                await choose(page, file("bad.wav", wav("天地玄黄")))
                await page.locator(".problem").wait_for()
                assert await broken(page, source) == []
                await page.get_by_role("link", name="Status").click()
                await expect(page.locator(".verdict")).to_have_text("Ready")
                await page.locator(".provider summary").first.click()
                assert await broken(page, source) == []


async def broken(page: Page, source: str) -> list[Any]:
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(source + "\n; undefined")  # through the debugger, where the page's policy does not hold
    found: list[Any] = await page.evaluate("""async () => {
      const { violations } = await axe.run();
      return violations.map(({ id, nodes }) => [id, ...nodes.map(({ html, any }) => [html, ...any.map((each) => each.message)])]);
    }""")
    return found

"""The status view: what the sidecar says of itself, while somebody looks."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.page.conftest import SERVER, Open, Start, choose, file, script, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")
TWO = SERVER + (
    "providers:\n  first: {type: fake}\n  second: {type: fake}\nroutes: {default: {providers: [first, second], hedge: {after: 5s}}}\n"
    "policy: {retries: {attempts: 1}, circuit: {failures: 1, reset: 90s}, limits: {rate: 50/s, concurrency: 7}}"
)


async def test_it_shows_providers_circuits_limits_and_latency(start: Start, look: Open) -> None:
    async with start(TWO) as running, look(running, "/#/status") as page:
        first, second = page.get_by_role("article", name="first"), page.get_by_role("article", name="second")
        await expect(first).to_contain_text("no call yet")
        await expect(first).to_contain_text("0 of 7")
        await expect(first).to_contain_text("50/s")
        await expect(page.locator(".routes")).to_contain_text("default")
        await page.locator(".routes summary").click()
        await expect(page.locator(".routes .tree").first).to_contain_text("hedge")
        script(running, "first").fail("unavailable")
        await page.get_by_role("link", name="Transcribe").click()
        await choose(page, file("call.wav", wav("天地玄黄")))
        await expect(page.locator("#list > li.done")).to_have_count(1)
        await page.get_by_role("link", name="Status").click()
        # It looks again by itself.
        await expect(first).to_contain_text("open")
        await expect(first).to_contain_text("next try in")
        await expect(first).to_contain_text("Not available")
        await expect(second).to_contain_text("the last 1 call, 0 failed")
        await expect(second.locator(".latency dd").first).to_have_text(re.compile(r"^[\d.]+ m?s$"))
        await expect(page.locator(".verdict")).to_have_text("Ready")  # the second one answers


async def test_requests_in_flight_are_counted_while_they_are(start: Start, look: Open) -> None:
    async with start(TWO) as running, look(running) as page:
        behaviour = script(running, "first")
        behaviour.hold()
        await choose(page, file("a.wav", wav("天")), file("b.wav", wav("地")))
        await behaviour.arrived(2)
        await page.get_by_role("link", name="Status").click()
        await expect(page.locator("#in-flight")).to_have_text("2")
        await expect(page.get_by_role("article", name="first")).to_contain_text("2 of 7")
        behaviour.release()
        await expect(page.locator("#in-flight")).to_have_text("0")


async def test_it_looks_only_while_it_is_seen(start: Start, look: Open) -> None:
    async with start(TWO) as running, look(running, "/#/status") as page:
        looks: list[str] = []
        page.on("request", lambda request: looks.append(request.url))
        async with page.expect_response("**/v1/status"):
            pass
        hide = """(state) => {
          Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
        await page.evaluate(hide, "hidden")
        looks.clear()
        await page.evaluate("new Promise((resolve) => setTimeout(resolve, 2000))")  # longer than the pause between two looks
        assert len(looks) <= 1  # one may have been on its way
        async with page.expect_response("**/v1/status"):
            await page.evaluate(hide, "visible")


async def test_what_a_person_opened_stays_open(start: Start, look: Open) -> None:
    async with start(TWO) as running, look(running, "/#/status") as page:
        opened = page.get_by_role("article", name="first").locator("details")
        summary = opened.locator("summary")
        await summary.click()
        async with page.expect_response("**/v1/status"):
            pass
        await expect(opened).to_have_attribute("open", "")
        await expect(summary).to_be_focused()
        await expect(opened).to_contain_text("steps_left")


async def test_it_says_so_when_the_sidecar_goes_and_comes_back(start: Start, look: Open) -> None:
    async with start(TWO) as running, look(running, "/#/status") as page:
        await expect(page.locator(".verdict")).to_have_text("Ready")
        running.runtime.draining = True
        await expect(page.locator(".verdict")).to_have_text("Shutting down")
        running.runtime.draining = False
        await page.context.set_offline(True)
        await expect(page.locator(".problem")).to_contain_text("The sidecar cannot be reached")
        await expect(page.locator(".provider").first).to_be_visible()  # what was seen before
        await page.context.set_offline(False)
        await expect(page.locator(".problem")).to_have_count(0)
        await expect(page.locator(".verdict")).to_have_text("Ready")

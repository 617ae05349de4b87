"""What the page may do, and what other pages may do to the sidecar, in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Browser, Route, expect

from asrproxy.api.sidecar import Sidecar
from tests.page.conftest import SERVER, TONES, Open, Start, choose, file, script, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "s3cret/+= töken"
LOCKED = SERVER.replace("}", f", tokens: ['{TOKEN}']}}") + "providers: {tones: {type: fake}}"
ATTACK = """async ([target, token]) => {
  const audio = new Uint8Array(1000);
  const tried = async (what) => { try { return await what(); } catch (error) { return `blocked: ${error.name}`; } };
  const post = (init) => fetch(`${target}/v1/recognize`, { method: "POST", body: audio, ...init }).then((answer) => answer.status);
  const socket = () => new Promise((resolve) => {
    const opened = new WebSocket(`${target.replace("http", "ws")}/v1/stream`, token ? ["asrproxy.v1", token] : []);
    opened.onopen = () => resolve("open");
    opened.onerror = () => resolve("blocked");
  });
  const form = () => new Promise((resolve) => {
    const frame = Object.assign(document.createElement("iframe"), { name: "frame" });
    const action = `${target}/v1/recognize`;
    const sent = Object.assign(document.createElement("form"), { method: "post", enctype: "text/plain", action, target: "frame" });
    document.body.append(frame, sent);
    sent.submit();
    frame.onload = () => resolve("sent");
  });
  return {
    simple: await tried(() => post({ headers: { "Content-Type": "text/plain" } })),
    blind: await tried(() => post({ mode: "no-cors" })),
    asking: await tried(() => post({ headers: { "Content-Type": "audio/wav", Authorization: "Bearer x" } })),
    status: await tried(() => fetch(`${target}/v1/status`).then((answer) => answer.json()).then(() => "read")),
    socket: await tried(socket),
    form: await tried(form),
  };
}"""


@asynccontextmanager
async def another_site() -> AsyncIterator[str]:
    """A page of somebody else's, on a port of its own."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>another site</title><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def port(running: Sidecar) -> int:
    found = urlsplit(running.url).port
    assert found is not None
    return found


async def test_a_page_of_another_site_cannot_spend_the_users_money(start: Start, browser: Browser) -> None:
    async with start() as running, another_site() as url:
        page = await browser.new_page()
        await page.goto(url)
        tried = await page.evaluate(ATTACK, [running.url, None])
        assert tried["simple"] == tried["asking"] == tried["status"] == "blocked: TypeError"
        assert tried["socket"] == "blocked"
        assert tried["blind"] == 0  # sent, and not to be read; it was refused all the same:
        assert tried["form"] == "sent"
        assert script(running).calls == 0
        assert running.runtime.in_flight == 0
        await page.close()


async def test_an_origin_that_is_named_may(start: Start, browser: Browser) -> None:
    async with another_site() as url, start(SERVER.replace("}", f", origins: ['{url}']}}") + "providers: {tones: {type: fake}}") as running:
        page = await browser.new_page()
        await page.goto(url)
        tried = await page.evaluate(ATTACK, [running.url, None])
        assert tried["simple"] == tried["asking"] == 400  # a thousand zeros are no audio; what counts is that the answer can be read
        assert tried["status"] == "read"
        assert tried["socket"] == "open"
        events = await page.evaluate(
            """async ([target, bytes]) => {
              const init = { method: "POST", body: new Uint8Array(bytes), headers: { "X-Request-Id": "mine" } };
              return (await fetch(`${target}/v1/recognize?stream=true`, init)).text();
            }""",
            [running.url, list(wav("天地", rate=8000))],
        )
        assert "event: result" in events
        await page.close()


async def test_a_name_that_was_made_to_point_here_is_refused(start: Start, browser: Browser) -> None:
    async with start() as running:
        page = await browser.new_page()
        answer = await page.goto(f"http://rebound.test:{port(running)}/v1/status")
        assert answer is not None
        assert answer.status == 403
        assert await page.evaluate("fetch('/v1/status').then((answer) => answer.status)") == 403
        assert await page.evaluate("fetch('/v1/recognize', { method: 'POST', body: 'x' }).then((answer) => answer.status)") == 403
        await page.close()
    async with start(SERVER.replace("}", ", hosts: [named.test]}") + "providers: {tones: {type: fake}}") as running:
        page = await browser.new_page()
        answer = await page.goto(f"http://named.test:{port(running)}/")
        assert answer is not None
        assert answer.status == 200
        await expect(page.locator("#health")).to_have_text("Ready")
        await page.get_by_role("button", name="Record").click()  # neither localhost nor https: the browser has no microphone to give
        await expect(page.locator(".mic-problem")).to_contain_text("The browser gives no microphone here")
        await page.close()


async def test_nobody_can_put_the_page_into_a_frame(start: Start, browser: Browser) -> None:
    async with start() as running, another_site() as url:
        page = await browser.new_page()
        await page.goto(url)
        await page.evaluate(
            """(src) => new Promise((resolve) => {
              document.body.append(Object.assign(document.createElement("iframe"), { src, onload: resolve }));
            })""",
            running.url,
        )
        assert [frame.url for frame in page.frames if frame.url.startswith(running.url)] == []
        await page.close()


async def test_a_token_is_asked_for_and_stays_in_the_tab(start: Start, look: Open) -> None:
    async with start(LOCKED) as running, look(running, microphone=True) as page:  # the page itself loads without one
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("This sidecar asks for a token")
        await expect(page.locator("#health")).to_have_text("Token needed")
        await dialog.get_by_label("Token").fill("a guess")
        await page.keyboard.press("Enter")
        await expect(dialog).to_contain_text("That one was not accepted")
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        await dialog.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(dialog).to_be_hidden()
        await expect(page.locator("#health")).to_have_text("Ready")
        await choose(page, file("call.wav", wav("天地玄黄")))
        await expect(page.locator("#list > li.done")).to_have_count(1)
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("log")).to_contain_text("天地玄黄")
        await page.locator(".stop").click()
        await expect(page.locator("#list > li.done")).to_have_count(2)
        assert any(url.startswith("ws:") for url in requests)
        assert not [url for url in requests if "s3cret" in url or "ken" in urlsplit(url).query]
        assert await page.evaluate("[JSON.stringify({ ...localStorage }).includes('s3cret'), document.cookie, sessionStorage.length]") == [
            False,
            "",
            1,
        ]
        async with look(running, context=page.context) as other:  # another tab knows nothing of it
            await expect(other.get_by_role("dialog")).to_be_visible()
        await page.locator("#token-open").click()
        await dialog.get_by_role("button", name="Forget it").click()
        await expect(page.locator("#health")).to_have_text("Token needed")
        assert await page.evaluate("sessionStorage.length") == 0


async def test_a_second_token_is_not_judged_by_the_answer_to_the_first(start: Start, look: Open) -> None:
    """A look that began with the first one may still be under way when the second is given."""
    async with start(LOCKED) as running, look(running) as page:
        dialog, second_is_given, first_was_held = page.get_by_role("dialog"), asyncio.Event(), asyncio.Event()

        async def held(route: Route) -> None:
            if route.request.headers.get("authorization") == "Bearer guess":
                first_was_held.set()
                await second_is_given.wait()
            await route.continue_()

        await expect(dialog).to_contain_text("This sidecar asks for a token")
        await page.route("**/v1/status", held)
        await dialog.get_by_label("Token").fill("guess")
        await page.keyboard.press("Enter")
        await first_was_held.wait()
        await dialog.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        second_is_given.set()
        await expect(dialog).to_be_hidden()
        await expect(page.locator("#health")).to_have_text("Ready")


async def test_a_recording_that_was_refused_for_want_of_a_token_is_sent_again_with_it(start: Start, look: Open) -> None:
    async with start(LOCKED) as running, look(running) as page:
        await page.get_by_role("button", name="Later").click()
        await choose(page, file("call.wav", wav("天地玄黄")))
        await page.get_by_role("dialog").get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Use it").click()
        await expect(page.locator("#list > li.done")).to_have_count(1)


async def test_a_live_session_that_is_refused_says_why(start: Start, look: Open) -> None:
    """A browser does not tell a page why a WebSocket was refused."""
    async with start(LOCKED) as running, look(running, microphone=True) as page:
        await page.get_by_role("button", name="Later").click()
        await page.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.get_by_role("button", name="Later").click()
        await expect(page.locator(".problem")).to_contain_text("A token is needed")
    async with start() as running, look(running, microphone=True) as page:
        running.runtime.draining = True
        await page.get_by_role("button", name="Record").click()
        await expect(page.locator(".problem")).to_contain_text("The sidecar is shutting down")


async def test_switched_off_there_is_no_page(start: Start, browser: Browser) -> None:
    async with start(TONES.replace("}\n", ", page: false}\n")) as running:
        page = await browser.new_page()
        answer = await page.goto(running.url + "/")
        assert answer is not None
        assert answer.status == 404
        assert "not_found" in await page.content()
        await page.close()


async def test_the_page_forbids_itself_what_it_does_not_need(start: Start, browser: Browser) -> None:
    async with start() as running, another_site() as url:
        page = await browser.new_page()
        await page.goto(running.url)
        refused = await page.evaluate(
            """async (url) => {
              const told = [];
              document.addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
              const failed = (what) => { try { what(); return false; } catch { return true; } };
              const markup = failed(() => (document.body.innerHTML = "<b>x</b>"));
              const out = await fetch(url).then(() => false, () => true);
              const picture = document.createElement("img");
              await new Promise((resolve) => document.body.append(Object.assign(picture, { src: url, onerror: resolve })));
              document.body.setAttribute("style", "color: red");
              await new Promise((resolve) => setTimeout(resolve));
              return { markup, out, told };
            }""",
            url,
        )
        assert refused["markup"]
        assert refused["out"]
        assert {"connect-src", "img-src", "style-src-attr"} <= set(refused["told"])
        await page.close()

"""The page in a real Chromium, in front of a real sidecar."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright, expect

from asrproxy.api.sidecar import Sidecar, sidecar
from asrproxy.config.load import loads
from asrproxy.discovery import provider_type
from asrproxy.testing import tones
from asrproxy_fake.provider import FakeProvider
from asrproxy_fake.script import Script

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--host-resolver-rules=MAP rebound.test 127.0.0.1,MAP named.test 127.0.0.1",
]  # fmt: skip
SERVER = 'server: {listen: ["127.0.0.1:0"], ops_listen: ["127.0.0.1:0"]}\n'
TONES = SERVER + "providers: {tones: {type: fake}}"
SPOKEN = ["天地玄黄", "宇宙洪荒", "日月盈昃"]
EXPECTED = ("Failed to load resource", "WebSocket connection to")  # what Chromium says of an answer that is an error


class Looked:
    """A page that is being looked at: what it asked for and what its console said is kept, and checked when it is closed."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.requests: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.said.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def check(self) -> None:
        """Nothing was refused by the Content-Security-Policy, nothing failed in a script, nothing was asked of anybody else."""
        assert [each for each in self.said if not each.startswith(EXPECTED)] == []
        ours = urlsplit(self.url).netloc
        assert [each for each in self.requests if not each.startswith("blob:") and urlsplit(each).netloc != ours] == []


expect.set_options(timeout=30_000)  # a loaded machine is slow, not wrong

Open = Callable[..., AbstractAsyncContextManager[Page]]
Start = Callable[..., AbstractAsyncContextManager[Sidecar]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playwright() -> AsyncIterator[Playwright]:
    if not shutil.which(CHROMIUM):
        pytest.skip(f"chromium is not installed ({CHROMIUM}): apt-get install chromium")
    async with async_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears, once."""
    file = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    score = tones.compose([0.4, SPOKEN[0], 0.8, SPOKEN[1], 0.8, SPOKEN[2]], tail=1.0)
    file.write_bytes(tones.to_wav(score.render(48_000), 48_000))
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(playwright: Playwright, spoken: Path) -> AsyncIterator[Browser]:
    arguments = [*ARGUMENTS, f"--use-file-for-fake-audio-capture={spoken}%noloop"]
    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    yield browser
    await browser.close()


@pytest.fixture
def start() -> Start:
    @asynccontextmanager
    async def starting(text: str = TONES) -> AsyncIterator[Sidecar]:
        configuration = loads(text, "test.yaml", environ={}, provider_settings=lambda name: provider_type(name).Settings)
        async with sidecar(configuration) as running:
            yield running

    return starting


@pytest.fixture
def look(browser: Browser) -> Open:
    """Opens the page of a sidecar, or another one in the same tab's context, and checks at the end what it did."""

    @asynccontextmanager
    async def looking(
        running: Sidecar,
        path: str = "/",
        *,
        microphone: bool = False,
        settled: bool = True,
        context: BrowserContext | None = None,
        **options: Any,
    ) -> AsyncIterator[Page]:
        owned = context is None
        if context is None:
            permissions = ["clipboard-read", "clipboard-write"] + (["microphone"] if microphone else [])
            context = await browser.new_context(permissions=permissions, **({"locale": "en-US"} | options))
        try:
            page = await context.new_page()
            page.set_default_timeout(30_000)
            looked = Looked(page, running.url)
            await page.goto(running.url + path)
            if settled:
                await page.locator("#health").wait_for()
            yield page
            looked.check()
        finally:
            if owned:
                await context.close()

    return looking


def script(running: Sidecar, name: str = "tones") -> Script:
    """What a provider of the sidecar does to its calls."""
    provider = running.runtime.current.opened[name].provider
    assert isinstance(provider, FakeProvider)
    return provider.script


def wav(*parts: str | float, rate: int = 16_000) -> bytes:
    return tones.to_wav(tones.compose(parts).render(rate), rate)


def file(name: str, body: bytes, mime: str = "audio/wav") -> dict[str, Any]:
    """As `set_input_files` takes it."""
    return {"name": name, "mimeType": mime, "buffer": body}


async def choose(page: Page, *files: dict[str, Any]) -> None:
    await page.set_input_files("#files", list(files))


async def until(page: Page, expression: str) -> None:
    """Returns once it is true in the page.

    Playwright's own `wait_for_function` evaluates in the page, which the page's policy forbids.
    """
    async with asyncio.timeout(30):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.03)


async def text_of(page: Page) -> str:
    """The transcript that is shown."""
    return "".join(await page.locator(".segment .text").all_inner_texts())

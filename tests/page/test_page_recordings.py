"""Files through the page: dropped, chosen, queued; transcript, timeline, progress, downloads; what a person sees when it goes wrong."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from playwright.async_api import Page, expect

from tests.page.conftest import SERVER, TONES, Open, Start, choose, file, script, text_of, until, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHORT = wav("天地玄黄")
LONG = TONES + "\npolicy: {long_audio: {max_segment: 5s, concurrency: 1}}"
LONG_PARTS = ["天地玄黄宇宙洪荒日月盈昃", 1.0, "辰宿列张寒来暑往秋收冬藏", 1.0, "闰余成岁律吕调阳云腾致雨", 1.0, "露结为霜金生丽水玉出昆冈"]
LONG_TEXT = "".join(each for each in LONG_PARTS if isinstance(each, str))

DROP = """async ({ name, type, body }) => {
  const bytes = Uint8Array.from(atob(body), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const send = (kind) => document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  send("dragenter");
  const shown = !document.getElementById("overlay").hidden;
  send("dragover");
  send("drop");
  return shown;
}"""


async def done(page: Page, count: int = 1) -> None:
    await expect(page.locator("#list > li.done")).to_have_count(count)


async def test_dropping_a_file_gives_its_transcript(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        assert await page.evaluate(DROP, {"name": "call.wav", "type": "audio/wav", "body": base64.b64encode(SHORT).decode()})
        await done(page)
        await expect(page.locator("#overlay")).to_be_hidden()
        await expect(page.get_by_role("heading", name="call.wav")).to_be_visible()
        assert await text_of(page) == "天地玄黄"
        await expect(page.locator(".meta")).to_contain_text("tones")
        await expect(page.locator("#announce")).to_have_text("call.wav: done.")


async def test_several_files_wait_in_a_queue(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        behaviour = script(running)
        behaviour.hold()
        await choose(page, *(file(f"{name}.wav", wav(name)) for name in "天地玄黄"))
        await expect(page.locator("#list > li.waiting")).to_have_count(2)
        assert behaviour.in_flight <= 2
        behaviour.release()
        await done(page, 4)
        for name in "天地玄黄":
            await page.locator(".item", has_text=f"{name}.wav").click()
            await expect(page.locator(".segment .text")).to_have_text(name)
        assert behaviour.calls == 4


async def test_a_long_recording_shows_how_far_it_is(start: Start, look: Open) -> None:
    async with start(LONG.replace("type: fake", "type: fake, latency: 60ms")) as running, look(running) as page:
        # Everything that the progress bar and the transcript say on the way, in order.
        await page.evaluate("""() => {
          window.seen = [];
          new MutationObserver(() => {
            const bar = document.querySelector("[role=progressbar]");
            if (!bar) return;
            const text = document.querySelector(".progress-text").textContent;
            window.seen.push([bar.getAttribute("aria-valuenow"), document.querySelectorAll(".segment").length, text]);
          }).observe(document.getElementById("detail"), { subtree: true, childList: true, attributes: true, characterData: true });
        }""")
        await choose(page, file("long.wav", wav(*LONG_PARTS)))
        await done(page)
        seen = await page.evaluate("window.seen")
        shares = [int(share) for share, _, text in seen if share is not None and text.startswith("Recognising")]
        assert len(set(shares)) >= 2
        assert shares == sorted(shares)
        assert any(0 < segments < 4 for _, segments, _ in seen)  # text comes while the rest is being worked on
        assert any(re.search(r"\d of \d+ part", text) for _, _, text in seen)
        assert await text_of(page) == LONG_TEXT
        await expect(page.get_by_role("progressbar")).to_have_count(0)


async def test_the_timeline_is_one_slider_for_keyboard_mouse_and_reader(start: Start, look: Open) -> None:
    async with start(LONG) as running, look(running) as page:
        await choose(page, file("long.wav", wav(*LONG_PARTS)))
        await done(page)
        slider = page.get_by_role("slider")
        starts = await page.evaluate("document.getElementById('list').firstChild.recording.segments.map((each) => each.start.toFixed(1))")
        assert len(starts) >= 3
        await slider.focus()

        async def at(seconds: str, segment: int) -> None:
            await expect(slider).to_have_attribute("aria-valuenow", seconds)
            await expect(page.locator(".segment[aria-current]")).to_have_count(1)
            assert await page.locator(".segment").nth(segment).get_attribute("aria-current") == "true"

        await page.keyboard.press("ArrowRight")
        await expect(slider).to_have_attribute("aria-valuenow", "5.0")
        await page.keyboard.press("Home")
        await page.keyboard.press("PageDown")
        await at(starts[1], 1)
        await page.keyboard.press("PageDown")
        await at(starts[2], 2)
        await page.keyboard.press("PageUp")
        await at(starts[1], 1)
        second = await page.locator(".segment .text").nth(1).inner_text()
        assert f"segment 2: {second}" in (await slider.get_attribute("aria-valuetext") or "")
        await page.get_by_role("button", name=re.compile("Go to")).nth(2).click()
        await at(starts[2], 2)
        box = await slider.bounding_box()
        assert box is not None
        await page.mouse.click(box["x"] + 1, box["y"] + box["height"] / 2)
        await expect(page.locator(".segment").nth(0)).to_have_attribute("aria-current", "true")
        await page.locator(".word", has_text="霜").click()  # a word is a place too
        await expect(page.locator(".word.now")).to_have_text("霜")


async def test_it_plays_and_the_words_go_along(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await choose(page, file("call.wav", wav("天地玄黄宇宙洪荒日月盈昃")))
        await done(page)
        await page.evaluate("""() => {
          window.words = new Set();
          const look = () => window.words.add(document.querySelector(".word.now")?.textContent);
          new MutationObserver(look).observe(document.querySelector(".segments"), { subtree: true, attributes: true });
        }""")
        await page.get_by_role("button", name="Play").click()
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await expect(page.get_by_role("button", name="Play")).to_be_visible()  # at the end
        assert len(await page.evaluate("[...window.words].filter(Boolean)")) >= 2


async def test_the_waveform_is_drawn_from_the_sound(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await choose(page, file("half.wav", wav("天地玄黄" * 4, 4.0)))
        await done(page)
        await until(page, "document.getElementById('list').firstChild.recording.waveform !== null")
        peaks = await page.evaluate("[...document.getElementById('list').firstChild.recording.waveform.peaks]")
        middle = len(peaks) // 2
        assert max(peaks[:middle]) > 0.4
        assert max(peaks[int(middle * 1.1) :]) == 0
        # and is on the screen: ink in the left half, only the thin line of silence in the right one
        tall = await page.evaluate("""() => {
          const canvas = document.querySelector(".wave canvas");
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          const row = (y, from, to) => data.subarray((y * width + from) * 4, (y * width + to) * 4).some((each) => each);
          const rows = [...Array(Math.floor(height * 0.8)).keys()];
          const inked = (from, to) => rows.filter((y) => row(y, Math.round(from * width), Math.round(to * width))).length / height;
          return [inked(0.1, 0.4), inked(0.7, 0.9)];
        }""")
        assert tall[0] > 0.5
        assert tall[1] < 0.15


@pytest.mark.parametrize(
    ("configuration", "parts"),
    [
        pytest.param(LONG, LONG_PARTS, id="word times"),
        pytest.param(LONG.replace("type: fake", "type: fake, capabilities: {options: []}"), LONG_PARTS, id="no word times"),
        pytest.param(
            LONG,
            ["the quick brown fox", 1.2, "jumps over the lazy dog", 1.0, "pack my box with five dozen jugs", 1.4, "of liquid 42"],
            id="letters",
        ),
        pytest.param(
            TONES.replace("type: fake", "type: fake, text: 'Well & good: \"2 < 3\", he said; isn’t it? 你好，世界。这是 ASR！'"),
            [1.5],
            id="marks",
        ),
    ],
)
async def test_downloads_are_what_the_sidecar_itself_would_write(
    start: Start, look: Open, configuration: str, parts: list[str | float]
) -> None:
    body = wav(*parts, rate=8000)
    async with start(configuration) as running, look(running) as page:
        await choose(page, file("my call.v2.wav", body))
        await done(page)
        words = await page.locator(".word").count() > 0
        for format, ours in (("txt", "text"), ("srt", "srt"), ("vtt", "vtt"), ("json", "json")):
            async with page.expect_download() as coming:
                await page.get_by_role("button", name=f"Download as {format.upper()}").click()
            download = await coming.value
            assert download.suggested_filename == f"my call.v2.{format}"
            got = Path(await download.path()).read_text("utf-8")
            async with ClientSession() as session:
                asked = {"response_format": ours} | ({"words": "true"} if words else {})
                async with session.post(running.url + "/v1/recognize", data=body, params=asked) as answer:
                    wanted = await answer.text()
            if format == "json":
                assert json.loads(got)["text"] == json.loads(wanted)["text"]
                assert ends(got) == pytest.approx(ends(wanted), abs=0.002)
            else:
                assert without_times(got) == without_times(wanted)
                assert times(got) == pytest.approx(times(wanted), abs=0.002)  # the page reads times that are rounded to milliseconds


STAMP = re.compile(r"(\d\d):(\d\d):(\d\d)[.,](\d\d\d)")


def without_times(text: str) -> str:
    return STAMP.sub("T", text)


def times(text: str) -> list[float]:
    return [int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in STAMP.findall(text)]


def ends(body: str) -> list[float]:
    return [each["end"] for each in json.loads(body)["segments"]]


async def test_copy_puts_the_text_on_the_clipboard(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await choose(page, file("call.wav", SHORT))
        await done(page)
        await page.get_by_role("button", name="Copy", exact=True).click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == "天地玄黄"


async def test_a_part_that_failed_is_marked_and_asked_for_again(start: Start, look: Open) -> None:
    text = SERVER + (
        "providers: {tones: {type: fake, script: [{}, {error: rejected}]}}\n"
        "policy: {retries: {attempts: 1}, long_audio: {max_segment: 5s, concurrency: 1, recheck: false}}"
    )
    async with start(text) as running, look(running) as page:
        await page.get_by_role("switch", name="Keep what worked").check(force=True)
        await choose(page, file("long.wav", wav(*LONG_PARTS)))
        await done(page)
        hole = page.locator(".segment.hole")
        await expect(hole).to_have_count(1)
        await expect(hole).to_contain_text("Not recognised")
        await expect(page.locator(".meta")).to_contain_text("Incomplete")
        # Refused instead: what there is stays on the page, and trying again pays only for what is missing.
        await page.get_by_role("button", name="Options").click()
        await page.get_by_role("switch", name="Keep what worked").uncheck(force=True)
        script(running).fail("rejected")
        await choose(page, file("again.wav", wav(*LONG_PARTS)))
        problem = page.locator(".problem")
        await expect(problem).to_contain_text("The provider failed")
        await expect(page.locator(".flag", has_text="Remembered").first).to_be_visible()
        before = script(running).calls
        await problem.get_by_role("button", name="Try again, only what is missing").click()
        await done(page, 2)
        assert await text_of(page) == LONG_TEXT
        assert script(running).calls - before == 1


async def test_what_is_worth_checking_is_marked(start: Start, look: Open) -> None:
    text = SERVER + "providers: {tones: {type: fake, text: x}}\npolicy: {long_audio: {max_segment: 5s}}"
    speech = wav("天地玄黄宇宙洪荒", rate=8000)
    async with start(text) as running, look(running) as page:

        async def answer(route: object) -> None:
            segment = {
                "index": 0,
                "start": 0.0,
                "end": 1.5,
                "text": "天地",
                "provider": "tones",
                "attempts": 2,
                "error": None,
                "suspect": True,
            }
            whole = {
                "request_id": "1",
                "text": "天地",
                "language": None,
                "duration": 1.5,
                "complete": True,
                "provider": "tones",
                "segments": [segment],
                "attempts": [],
            }
            await route.fulfill(
                content_type="text/event-stream",
                body=f"event: segment\ndata: {json.dumps(segment)}\n\nevent: result\ndata: {json.dumps(whole)}\n\n",
            )  # type: ignore[attr-defined]

        await page.route("**/v1/recognize*", answer)
        await choose(page, file("call.wav", speech))
        await done(page)
        await expect(page.locator(".flag", has_text="Check this")).to_be_visible()
        await expect(page.locator(".meta")).to_contain_text("1 to check")


async def test_errors_say_what_happened_and_what_to_do(start: Start, look: Open) -> None:
    text = (
        SERVER.replace("}", ", max_body: 100KiB}")
        + "providers: {tones: {type: fake}}\npolicy: {retries: {attempts: 1}, circuit: {failures: 1}}"
    )
    async with start(text) as running, look(running) as page:
        problem = page.locator(".problem")
        await choose(page, file("notes.txt", b"this is not audio at all " * 20, "text/plain"))
        await expect(problem).to_contain_text("There is no audio in this file")
        await expect(problem.get_by_role("button")).to_have_count(0)  # the same file will not come through
        await expect(problem.locator("code")).to_have_text(re.compile("[0-9a-f]{32}"))
        await choose(page, file("large.wav", wav("天", 5.0)))
        await expect(problem).to_contain_text("This file is too large")
        script(running).fail("unavailable", vendor_code=50_000_001)
        await choose(page, file("call.wav", SHORT))
        await expect(problem).to_contain_text("The provider failed")
        await expect(problem).to_contain_text("from tones")
        await expect(problem).to_contain_text("its own status 50000001")
        await problem.get_by_role("button", name="Try again").click()
        await expect(problem).to_contain_text("The provider is having an outage")
        await expect(problem.get_by_role("button", name=re.compile(r"Try again in \d+ s"))).to_be_disabled()


async def test_trying_again_after_the_provider_came_back_works(start: Start, look: Open) -> None:
    async with start(TONES + "\npolicy: {retries: {attempts: 1}}") as running, look(running) as page:
        script(running).fail("unavailable")
        await choose(page, file("call.wav", SHORT))
        await page.get_by_role("button", name="Try again").click()
        await done(page)
        assert await text_of(page) == "天地玄黄"


async def test_a_sidecar_that_is_gone_is_said_to_be(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await page.context.set_offline(True)
        await choose(page, file("call.wav", SHORT))
        await expect(page.locator(".problem")).to_contain_text("The sidecar cannot be reached")
        await expect(page.locator("#health")).to_have_text("The sidecar cannot be reached")
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await done(page)


async def test_cancelling_ends_the_call_to_the_provider(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        behaviour = script(running)
        behaviour.hold()
        await choose(page, file("call.wav", SHORT))
        await behaviour.arrived()
        await page.get_by_role("button", name="Cancel").click()
        await behaviour.idle()
        await expect(page.locator("#list > li.cancelled")).to_have_count(1)
        await expect(page.locator("#detail")).to_be_focused()  # the button is gone; the place where it was is not
        behaviour.release()
        await page.get_by_role("button", name="Try again").click()
        await done(page)
        await page.get_by_role("button", name="Remove call.wav").click()
        await expect(page.locator("#list-area")).to_be_hidden()
        await expect(page.get_by_role("button", name="Add files")).to_be_focused()


async def test_silence_is_an_answer(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:
        await choose(page, file("quiet.wav", wav(2.0)))
        await done(page)
        await expect(page.locator("#detail")).to_contain_text("No speech was found")


async def test_a_format_that_the_browser_cannot_play_has_a_timeline_all_the_same(start: Start, look: Open) -> None:
    body = (Path(__file__).parents[1] / "audio" / "data" / "tones-nb.amr").read_bytes()
    async with start() as running, look(running) as page:
        await choose(page, file("phone.amr", body, "audio/amr"))
        await done(page)
        await expect(page.get_by_role("button", name="Play")).to_be_disabled()
        await page.get_by_role("slider").focus()
        await page.keyboard.press("End")
        end = float(await page.get_by_role("slider").get_attribute("aria-valuemax") or 0)
        assert end > 0.5
        await expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", f"{end:.1f}")


async def test_route_and_language_are_the_sidecars_own(start: Start, look: Open) -> None:
    text = SERVER + (
        "providers:\n  chinese: {type: fake, capabilities: {languages: [zh-CN, yue]}}\n  plain: {type: fake, capabilities: {options: []}}\n"
        "routes: {default: {providers: [chinese]}, other: {providers: [plain, chinese]}}"
    )
    async with start(text) as running, look(running) as page:
        route, spoken = page.get_by_label("Route"), page.get_by_label("Spoken language")
        assert await route.locator("optgroup").evaluate_all(
            "all => all.map((each) => [each.label, [...each.children].map((one) => one.value)])"
        ) == [
            ["Routes", ["default", "other"]],
            ["One provider only", ["chinese", "plain"]],
        ]
        assert await spoken.locator("option").evaluate_all("all => all.map((each) => each.value)") == ["", "yue", "zh-CN"]
        await route.select_option("other")
        assert len(await spoken.locator("option").all()) > 10  # one of its providers takes any
        await spoken.select_option("zh-CN")
        async with page.expect_request("**/v1/recognize*") as asked:
            await choose(page, file("call.wav", SHORT))
        url = (await asked.value).url
        assert "route=other" in url
        assert "language=zh-CN" in url
        assert "words" not in url  # plain has none: asking would pass it over
        await done(page)
        await expect(page.locator(".meta")).to_contain_text("plain")
        await page.reload()
        await expect(page.get_by_label("Route")).to_have_value("other")


async def test_a_transcript_is_text_and_never_markup(start: Start, look: Open) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    async with start(TONES.replace("type: fake", f"type: fake, text: '{evil}'")) as running, look(running) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        await choose(page, file("<b>call</b>.wav", wav(1.0)))
        await done(page)
        assert await text_of(page) == evil
        await expect(page.locator(".detail h2")).to_have_text("<b>call</b>.wav")
        assert await page.locator("#detail img, #detail script, #list b").count() == 0


async def test_the_keyboard_is_enough(start: Start, look: Open) -> None:
    async with start() as running, look(running) as page:

        async def tab_to(name: str) -> None:
            for _ in range(40):
                await page.keyboard.press("Tab")
                focused = await page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent")
                if name in focused:
                    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                    assert outline != "none", f"{name} does not show that it has the focus"
                    return
            pytest.fail(f"{name} cannot be reached with the tab key")

        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        async with page.expect_file_chooser() as chooser:
            await tab_to("Add files")
            await page.keyboard.press("Enter")
        await (await chooser.value).set_files([file("call.wav", wav("天地", 8.0, "玄黄"))])  # type: ignore[list-item]
        await done(page)
        await tab_to("Download as SRT")
        async with page.expect_download():
            await page.keyboard.press("Enter")
        await tab_to("Timeline")
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "5.0")
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Play")).to_be_visible()
        await tab_to("Go to 0:00")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "0.0")


async def test_a_real_recording_in_a_compressed_format(start: Start, look: Open) -> None:
    body = (Path(__file__).parents[1] / "data" / "speech" / "en-librivox-sense-0930.flac").read_bytes()
    async with start(TONES.replace("type: fake", "type: fake, text: heard it all")) as running, look(running) as page:
        await choose(page, file("sense.flac", body, "audio/flac"))
        await done(page)
        assert await text_of(page) == "heard it all"
        await until(page, "document.getElementById('list').firstChild.recording.waveform?.peaks.some((each) => each > 0.1)")
        await expect(page.get_by_role("button", name="Play")).to_be_enabled()

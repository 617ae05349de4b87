"""What the application does with what a recogniser may answer: said here, call by call."""

from __future__ import annotations

import pytest
from minutes import Hopeless, Later, transcribe

from asrproxy.testing.sidecar import RunningSidecar
from asrproxy.testing.tones import synthesize, to_wav

MEETING = to_wav(synthesize("some sound"), 16_000)


def test_the_text_is_what_was_heard(asrproxy_sidecar: RunningSidecar) -> None:
    asrproxy_sidecar.vendor.answer("The budget was agreed.")
    assert transcribe(MEETING, asrproxy_sidecar.url, language="en-GB") == "The budget was agreed."
    (asked,) = asrproxy_sidecar.vendor.asked
    assert asked.options.language == "en-GB"
    assert asked.seconds == pytest.approx(len(MEETING) / 32_000, abs=0.01)


def test_at_the_vendors_limit_it_waits_as_long_as_it_is_told(asrproxy_sidecar: RunningSidecar) -> None:
    asrproxy_sidecar.vendor.fail("throttled", retry_after=7)
    asrproxy_sidecar.vendor.answer("The budget was agreed.")
    waited: list[float] = []
    assert transcribe(MEETING, asrproxy_sidecar.url, sleep=waited.append) == "The budget was agreed."
    assert waited == [7]
    assert [request.status for request in asrproxy_sidecar.requests] == [429, 200]


def test_in_an_outage_it_leaves_the_recording_for_later(asrproxy_sidecar: RunningSidecar) -> None:
    asrproxy_sidecar.vendor.go_down("unavailable")
    with pytest.raises(Later):
        transcribe(MEETING, asrproxy_sidecar.url, sleep=lambda seconds: None)
    asrproxy_sidecar.vendor.recover()
    asrproxy_sidecar.vendor.answer("The budget was agreed.")
    assert transcribe(MEETING, asrproxy_sidecar.url) == "The budget was agreed."


def test_what_is_no_recording_is_sent_once(asrproxy_sidecar: RunningSidecar) -> None:
    with pytest.raises(Hopeless):
        transcribe(b"minutes.docx", asrproxy_sidecar.url)
    assert len(asrproxy_sidecar.requests) == 1


def test_it_says_when_there_is_no_sidecar() -> None:
    with pytest.raises(Later, match="no sidecar"):
        transcribe(MEETING, "http://127.0.0.1:9")

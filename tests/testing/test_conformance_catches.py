"""The kit finds the faults that it is for: each provider here has one, and the promise that forbids it is the one that breaks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

import pytest

from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    Context,
    Host,
    Options,
    Provider,
    ProviderError,
    ProviderSettings,
    Recognition,
    SecretStr,
    Unavailable,
    UnsupportedParameter,
    Utterance,
)
from asrproxy.testing.conformance import ProviderConformance, Vendor, report
from asrproxy.testing.tones import decode, text_of
from asrproxy_fake.provider import FakeProvider


class Flaky(Vendor):
    """A vendor in the same process."""

    errors = frozenset({Unavailable})

    def __init__(self) -> None:
        self.made = 0
        self.broken = False

    def calls(self) -> int:
        return self.made

    def fail(self, error: type[ProviderError]) -> None:
        self.broken = True

    def recover(self) -> None:
        self.broken = False

    def call(self, utterance: Utterance) -> str:
        self.made += 1
        if self.broken:
            raise Unavailable("down")
        return text_of(decode(utterance.pcm, utterance.format.sample_rate))


class Settings(ProviderSettings):
    key: SecretStr = SecretStr("the-secret")


class Good(Provider):
    """Keeps every promise; the others are this one with a fault."""

    Settings: ClassVar[type[ProviderSettings]] = Settings
    summary = "good"
    capabilities: Capabilities = Capabilities(languages=frozenset({"zh"}))
    vendor: Flaky

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self.check(context.options)
        await asyncio.sleep(0)
        return Recognition(self.vendor.call(utterance))

    def check(self, options: Options) -> None:
        for name in options.asked():
            raise UnsupportedParameter("no", param=name)
        if not self.capabilities.speaks(options.language):
            raise UnsupportedParameter("no", param="language")


def suite(faulty: type[Good]) -> ProviderConformance:
    class Suite(ProviderConformance):
        provider = faulty
        promptly = 0.5

        @asynccontextmanager
        async def vendor(self) -> AsyncIterator[Vendor]:
            yield Flaky()

        def make(self, settings: ProviderSettings, host: Host, vendor: Vendor) -> Provider:
            provider = faulty(settings, host)
            assert isinstance(vendor, Flaky)
            provider.vendor = vendor
            return provider

    return Suite()


class Retries(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        try:
            return await super().recognize(utterance, context)
        except Unavailable:
            return await super().recognize(utterance, context)


class Sleeps(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        try:
            return await super().recognize(utterance, context)
        except Unavailable:
            await asyncio.sleep(0.001)
            raise


class HidesFailures(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        try:
            return await super().recognize(utterance, context)
        except Unavailable:
            return Recognition("")


class DropsOptions(Good):
    def check(self, options: Options) -> None:
        pass


class AlwaysGivesWords(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        return replace(await super().recognize(utterance, context), words=())


class ClaimsWords(Good):
    capabilities = Capabilities(options=frozenset({"words"}))

    def check(self, options: Options) -> None:
        pass


class ClaimsFormats(Good):
    capabilities = Capabilities(formats=(AudioFormat(16_000), AudioFormat(8_000)))

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        return await super().recognize(replace(utterance, format=AudioFormat(16_000)), context)


class HearsThingsInSilence(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        return Recognition((await super().recognize(utterance, context)).text or "谢谢观看")


class MixesUpCalls(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self.last = utterance
        await asyncio.sleep(0)
        return await super().recognize(self.last, context)


class SwallowsCancellation(Good):
    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        answer = await super().recognize(utterance, context)
        try:
            for _ in range(20):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        return answer


class LeavesTasks(Good):
    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.Event().wait())


class LeavesSockets(Good):
    kept: ClassVar[list[socket.socket]] = []

    async def start(self) -> None:
        self.kept.extend(socket.socketpair())


class OpensInConstructor(Good):
    def __init__(self, settings: ProviderSettings, host: Host) -> None:
        super().__init__(settings, host)
        LeavesSockets.kept.extend(socket.socketpair())


class ShowsSecrets(Good):
    def status(self) -> Mapping[str, object]:
        assert isinstance(self.settings, Settings)
        return {"authorization": f"Bearer {self.settings.key.get_secret_value()}"}


class TakesAnyKey(Good):
    class Loose(ProviderSettings, extra="ignore"):
        """Takes what it does not know."""

    Settings = Loose


class ClosesOnce(Good):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


FAULTS = {
    Retries: "test_each_failure_of_the_vendor_is_one_typed_error",
    Sleeps: "test_each_failure_of_the_vendor_is_one_typed_error",
    HidesFailures: "test_each_failure_of_the_vendor_is_one_typed_error",
    DropsOptions: "test_an_option_that_is_not_declared_is_refused_by_name",
    AlwaysGivesWords: "test_speech_is_recognised",
    ClaimsWords: "test_words_come_with_times_where_declared",
    ClaimsFormats: "test_each_declared_format_is_recognised",
    HearsThingsInSilence: "test_silence_is_an_empty_text",
    MixesUpCalls: "test_calls_at_the_same_time_get_each_its_own_answer",
    SwallowsCancellation: "test_a_cancelled_call_ends_and_leaves_nothing",
    LeavesTasks: "test_closing_it_leaves_no_task_and_no_socket",
    LeavesSockets: "test_closing_it_leaves_no_task_and_no_socket",
    OpensInConstructor: "test_making_one_opens_nothing",
    ShowsSecrets: "test_its_health_and_status_can_be_shown_to_anyone",
    TakesAnyKey: "test_an_unknown_key_in_its_settings_is_refused",
    ClosesOnce: "test_it_can_be_closed_twice_and_without_a_start",
}


@pytest.fixture(autouse=True)
def _closed_sockets() -> Iterator[None]:
    yield
    while LeavesSockets.kept:
        LeavesSockets.kept.pop().close()


@pytest.mark.parametrize("faulty", FAULTS, ids=lambda each: each.__name__)
def test_a_provider_with_a_fault_breaks_its_promise(faulty: type[Good]) -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(suite(faulty), FAULTS[faulty])()


@pytest.mark.parametrize("promise", sorted(set(FAULTS.values())))
def test_a_provider_without_a_fault_keeps_them(promise: str) -> None:
    with suppress(SkipTest):  # words and formats that a fault declares on top
        getattr(suite(Good), promise)()


def test_the_core_inside_is_out_of_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asrproxy_reaching_in.py").write_text(
        "from asrproxy.plugin import Provider\ndef late():\n    from asrproxy.policy import retry\n    from asrproxy import audio\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    faulty = type("ReachesIn", (Good,), {"__module__": "asrproxy_reaching_in"})
    with pytest.raises(AssertionError, match=r"asrproxy\.policy"):
        suite(faulty).test_it_imports_nothing_of_the_core_but_the_plugin_surface()


def test_a_report_names_what_is_kept_broken_and_not_tried() -> None:
    class Suite(ProviderConformance):
        provider = FakeProvider
        type_name = "no-such-type"

    found = report(Suite)
    assert not found.passed
    assert found["test_its_entry_point_leads_to_it"].startswith("broken: ConfigError")
    assert found["test_speech_is_recognised"] == "kept"
    assert found["test_live_audio_is_refused_where_not_declared"] == "not tried: streaming is declared"

"""The conformance kit: what the core relies on in a provider, as tests that any author runs on their own.

    from asrproxy.testing.conformance import ProviderConformance

    class TestEcho(ProviderConformance):
        provider = EchoProvider

pytest collects the `test_…` methods that the class inherits; `report(TestEcho)` runs the same without pytest. The kit reads the
provider's `Capabilities`: what is declared is tried, and for what is not declared the provider has to refuse. What a class does not
override cannot be tried and is skipped with the reason; what there is to override is under "What an author says". It wants Linux or
another system with /proc/self/fd for counting sockets, and nothing but the standard library.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final
from unittest import SkipTest

from asrproxy.discovery import provider_type
from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    Context,
    Health,
    Host,
    Interim,
    NotReady,
    Options,
    Provider,
    ProviderError,
    ProviderSettings,
    Recognition,
    SecretStr,
    Section,
    Sentence,
    Unreachable,
    UnsupportedParameter,
    Utterance,
    Word,
)
from asrproxy.testing import tones

if not __debug__:
    raise ImportError("python -O leaves out assertions, and the kit is made of them")

OPTIONS: Final[Mapping[str, object]] = MappingProxyType(
    {"words": True, "punctuation": True, "itn": True, "vocabulary": "天地", "prompt": "玄黄", "temperature": 0.0}
)
"""Every option of a call with a value that asks for it."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Audio with what is said in it. pcm: s16le mono."""

    pcm: bytes
    text: str


class Vendor:
    """What the provider talks to, as far as its author has it in hand; each method that is overridden lets the kit try more.

    errors: what `fail` can make it do.
    """

    errors: ClassVar[frozenset[type[ProviderError]]] = frozenset()

    def calls(self) -> int:
        """How many recognitions it was asked for since it was made."""
        raise NotImplementedError

    def fail(self, error: type[ProviderError]) -> None:
        """From now on calls meet what the provider has to raise as `error`, until `recover`."""
        raise NotImplementedError

    def recover(self) -> None:
        """Calls are answered well again."""
        raise NotImplementedError

    def hold(self) -> None:
        """From now on calls arrive and get no answer."""
        raise NotImplementedError

    async def arrived(self) -> None:
        """Returns once a call is under way."""
        raise NotImplementedError

    async def idle(self) -> None:
        """Returns once no call is under way, a cancelled one included."""
        raise NotImplementedError


class ConformanceReport(dict[str, str]):
    """Promise to `kept`, `not tried: …` or `broken: …`, in order."""

    @property
    def passed(self) -> bool:
        return not any(outcome.startswith("broken") for outcome in self.values())

    def __str__(self) -> str:
        return "\n".join(f"{name.removeprefix('test_').replace('_', ' ')}: {outcome}" for name, outcome in self.items())


def report(suite: type[ProviderConformance]) -> ConformanceReport:
    """Runs a suite without pytest and says what became of each promise."""
    found = ConformanceReport()
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite(), name)()
            except SkipTest as reason:
                found[name] = f"not tried: {reason}"
            except Exception as error:  # whatever it is, it belongs into the report
                found[name] = f"broken: {type(error).__name__}: {error}"
            else:
                found[name] = "kept"
    return found


def _promise(test: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
    """Makes an ordinary test of a coroutine: in a loop of its own, within `patience`, and nothing may be left running behind it."""

    def run(suite: Any) -> None:
        async def within() -> None:
            async with asyncio.timeout(suite.patience):
                await test(suite)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left behind: {left}"

        asyncio.run(within())

    # Not functools.wraps: through __wrapped__, pytest-asyncio's automatic mode would take it for the coroutine.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


class ProviderConformance:
    """Subclass it as `Test…`, say what `provider` is, and override what the provider needs."""

    # What an author says.

    provider: ClassVar[type[Provider]]
    """The class under test."""
    type_name: ClassVar[str | None] = None
    """The name of its entry point; None: it is not installed, the entry point is not tried."""
    patience: ClassVar[float] = 60.0
    """Seconds that one promise may take in all, loading a model included."""
    longest: ClassVar[float] = 60.0
    """Seconds of the longest utterance that is tried, for providers that take much longer ones."""
    promptly: ClassVar[float] = 5.0
    """Seconds within which what was cancelled or closed has to be gone."""
    hears_tones: ClassVar[bool] = True
    """Whether what stands behind it answers the tone alphabet; False: `speech` is overridden with something that it does hear."""

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        """Starts what the provider talks to, if it is ours to start. Each promise gets one of its own."""
        yield Vendor()

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        """What stands below the provider's name in a configuration file, without type and policy."""
        return {}

    def make(self, settings: ProviderSettings, host: Host, vendor: Vendor) -> Provider:
        """The provider, from checked settings; override it to keep hold of what the vendor needs."""
        return self.provider(settings, host)

    def speech(self, format: AudioFormat, take: int = 0) -> Speech:
        """Some speech of one or two seconds; another take may say something else."""
        texts = ("天地玄黄", "宇宙洪荒", "日月盈昃", "辰宿列张", "寒来暑往", "秋收冬藏", "闰余成岁", "律吕调阳")
        text = texts[take % len(texts)]
        return Speech(tones.synthesize(text, format.sample_rate), text)

    def matches(self, said: str, recognised: str) -> bool:
        """Whether `recognised` will do for `said`: the default wants it exactly, but for spaces and punctuation."""
        return _bare(said) == _bare(recognised)

    # What it promises about itself.

    def test_an_unknown_key_in_its_settings_is_refused(self) -> None:
        settings = self.provider.Settings
        try:
            settings.model_validate({"no_such_key_of_any_provider": 1})
        except ValueError as error:
            assert "no_such_key_of_any_provider" in str(error), f"the error does not name the key: {error}"
        else:
            raise AssertionError(f"{settings.__name__} took a key that it does not have; base it on asrproxy.plugin.ProviderSettings")

    def test_its_settings_are_frozen(self) -> None:
        assert issubclass(self.provider.Settings, ProviderSettings)
        assert self.provider.Settings.model_config.get("frozen"), "settings can be changed after they were checked"

    def test_it_says_what_it_is_in_one_line(self) -> None:
        assert self.provider.summary, "`summary` is empty: `asrproxy providers` has nothing to say"
        assert "\n" not in self.provider.summary
        assert isinstance(self.provider.capabilities, Capabilities), "`capabilities` on the class: with default settings"

    def test_its_entry_point_leads_to_it(self) -> None:
        if self.type_name is None:
            raise SkipTest("type_name is not said")
        assert provider_type(self.type_name) is self.provider

    def test_importing_it_does_nothing(self) -> None:
        program = f"import threading, {self.provider.__module__}\nassert threading.active_count() == 1, 'a thread was started'\n"
        ended = subprocess.run(  # noqa: S603 -- our own interpreter and program
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert not ended.stdout + ended.stderr, f"it prints: {ended.stdout}{ended.stderr}"

    def test_it_imports_nothing_of_the_core_but_the_plugin_surface(self) -> None:
        for file in _sources(self.provider):
            for module in _imports(file):
                inside = module.partition(".")[0] == "asrproxy" and not _is_within(module, ("asrproxy.plugin", "asrproxy.testing"))
                assert not inside, f"{file.name} imports {module}; only asrproxy.plugin and asrproxy.testing will stay as they are"

    # What it promises about recognition.

    @_promise
    async def test_speech_is_recognised(self) -> None:
        async with self._started() as (provider, vendor):
            speech = self._utterance(provider)
            answer = await provider.recognize(speech.utterance, _context())
            self._check(speech, answer)
            assert answer.words is None, "words came that were not asked for"
            with suppress(NotImplementedError):
                assert vendor.calls() == 1, f"one call of recognize made {vendor.calls()} of the vendor"

    @_promise
    async def test_each_declared_format_is_recognised(self) -> None:
        async with self._started() as (provider, _):
            assert provider.capabilities.formats, "no format is declared"
            for format in provider.capabilities.formats:
                assert format.channels == 1, "utterances are mono"
                speech = self._utterance(provider, format=format)
                self._check(speech, await provider.recognize(speech.utterance, _context()))

    @_promise
    async def test_a_view_of_a_longer_recording_is_recognised(self) -> None:
        async with self._started() as (provider, _):
            speech = self._utterance(provider)
            around = bytes(1000)
            view = memoryview(around + speech.utterance.pcm + around)[1000:-1000]
            self._check(speech, await provider.recognize(replace(speech.utterance, pcm=view, start=12.5), _context()))

    @_promise
    async def test_silence_is_an_empty_text(self) -> None:
        async with self._started() as (provider, _):
            format = provider.capabilities.formats[0]
            answer = await provider.recognize(Utterance(bytes(format.bytes_per_second), format), _context())
            assert answer.text == "", f"silence was recognised as {answer.text!r}"
            assert not answer.words

    @_promise
    async def test_an_utterance_as_long_as_declared_is_taken(self) -> None:
        async with self._started() as (provider, _):
            speech = self._utterance(provider)
            format = speech.utterance.format
            samples = int(min(provider.capabilities.longest, self.longest) * format.sample_rate)
            utterance = Utterance(speech.utterance.pcm.ljust(2 * samples, b"\0")[: 2 * samples], format)  # type: ignore[union-attr]
            self._check(speech, await provider.recognize(utterance, _context()))

    @_promise
    async def test_a_long_recording_comes_back_in_sentences_where_that_is_declared(self) -> None:
        async with self._started() as (provider, _):
            if provider.capabilities.whole is None:
                raise SkipTest("whole recordings are not declared")
            assert provider.capabilities.whole > provider.capabilities.longest, "a whole recording is longer than an utterance"
            speech = self._utterance(provider)
            format = speech.utterance.format
            silence = bytes(2 * int((provider.capabilities.longest + 5) * format.sample_rate))
            utterance = Utterance(bytes(speech.utterance.pcm) + silence + bytes(speech.utterance.pcm), format)
            answer = await provider.recognize(utterance, _context())
            assert answer.sentences is not None, "a whole recording came back without sentences"
            assert len(answer.sentences) >= 2, "words more than a minute apart came back as one sentence"
            assert _bare("".join(each.text for each in answer.sentences)) == _bare(answer.text)
            ends = [0.0, *(edge for each in answer.sentences for edge in (each.start, each.end)), utterance.duration + 0.1]
            assert ends == sorted(ends), f"sentences overlap or lie outside of the recording: {answer.sentences}"

    @_promise
    async def test_words_come_with_times_where_declared(self) -> None:
        async with self._started() as (provider, _):
            if not provider.capabilities.words:
                raise SkipTest("words are not declared")
            speech = self._utterance(provider)
            answer = await provider.recognize(speech.utterance, _context(words=True))
            self._check(speech, answer)
            assert answer.words, "words were asked for and did not come"
            _check_words(answer.words, answer.text, 0.0, speech.utterance.duration)

    @_promise
    async def test_each_declared_option_is_taken(self) -> None:
        async with self._started() as (provider, _):
            unknown = provider.capabilities.options - set(OPTIONS)
            assert not unknown, f"options are declared that there are not: {unknown}"
            for name in sorted(provider.capabilities.options):
                speech = self._utterance(provider)
                self._check(speech, await provider.recognize(speech.utterance, _context(**{name: OPTIONS[name]})))

    @_promise
    async def test_an_option_that_is_not_declared_is_refused_by_name(self) -> None:
        async with self._started() as (provider, vendor):
            for name in sorted(set(OPTIONS) - provider.capabilities.options):
                try:
                    await provider.recognize(self._utterance(provider).utterance, _context(**{name: OPTIONS[name]}))
                except UnsupportedParameter as error:
                    assert error.param == name, f"asked for {name}, the error is about {error.param}"
                else:
                    raise AssertionError(f"{name} is not declared and was dropped silently; raise UnsupportedParameter")
            with suppress(NotImplementedError):
                assert vendor.calls() == 0, "the vendor was called for what it cannot do"

    @_promise
    async def test_each_declared_language_is_taken_and_another_one_refused(self) -> None:
        async with self._started() as (provider, _):
            languages = provider.capabilities.languages
            for language in sorted(languages or {"zh-CN", "en-US"}):
                speech = self._utterance(provider)
                await provider.recognize(speech.utterance, _context(language=language))
            if languages is not None:
                assert not provider.capabilities.speaks("tlh"), "it declares Klingon"
                try:
                    await provider.recognize(self._utterance(provider).utterance, _context(language="tlh"))
                except UnsupportedParameter as error:
                    assert error.param == "language"
                else:
                    raise AssertionError("a language that is not declared was not refused; raise UnsupportedParameter(param='language')")

    @_promise
    async def test_calls_at_the_same_time_get_each_its_own_answer(self) -> None:
        async with self._started() as (provider, _):
            most = provider.capabilities.concurrency or 8
            speeches = [self._utterance(provider, take=take) for take in range(min(most, 8))]
            answers = await asyncio.gather(*(provider.recognize(each.utterance, _context()) for each in speeches))
            for speech, answer in zip(speeches, answers, strict=True):
                self._check(speech, answer)

    # What it promises about live audio.

    @_promise
    async def test_live_audio_gives_sentences_where_declared(self) -> None:
        async with self._started() as (provider, _):
            speech = self._live(provider)
            interims: list[Interim] = []
            sentences: list[Sentence] = []
            async with aclosing(provider.stream(_pieces(speech.utterance), speech.utterance.format, _context())) as events:  # type: ignore[type-var]
                async for event in events:
                    interims.append(event) if isinstance(event, Interim) else sentences.append(event)
            assert self.matches(speech.text, "".join(each.text for each in sentences)), f"{speech.text!r} came as {sentences}"
            assert [each.index for each in sentences] == list(range(len(sentences))), "sentences are not numbered from 0 on"
            assert all(0 <= each.index < len(sentences) for each in interims), "an interim belongs to no sentence"
            before = 0.0
            for each in sentences:
                assert before <= each.start <= each.end <= speech.utterance.duration + 0.05, f"times are not in order or not within: {each}"
                before = each.end

    @_promise
    async def test_hanging_up_on_live_audio_ends_it(self) -> None:
        async with self._started() as (provider, vendor):
            speech = self._live(provider)
            never = asyncio.Event()

            async def endless() -> AsyncIterator[bytes]:
                yield bytes(speech.utterance.pcm)
                await never.wait()

            async def listen() -> None:
                async with aclosing(provider.stream(endless(), speech.utterance.format, _context())) as events:  # type: ignore[type-var]
                    async for _ in events:
                        pass

            before = _others()
            task = asyncio.create_task(listen())
            with suppress(NotImplementedError):
                await vendor.arrived()
            await _turns()
            await _cancelled(task, self.promptly)
            with suppress(NotImplementedError):
                await vendor.idle()
            await _until(lambda: _others() <= before, "hanging up left tasks behind", self.promptly)

    @_promise
    async def test_live_audio_is_refused_where_not_declared(self) -> None:
        async with self._started() as (provider, _):
            if provider.capabilities.streaming:
                raise SkipTest("streaming is declared")
            speech = self._utterance(provider)
            try:
                async for _ in provider.stream(_pieces(speech.utterance), speech.utterance.format, _context()):
                    break
            except UnsupportedParameter:
                return
            raise AssertionError("streaming is not declared and was not refused; leave `stream` as the base class has it")

    # What it promises about errors.

    @_promise
    async def test_each_failure_of_the_vendor_is_one_typed_error(self) -> None:
        async with self._started() as (provider, vendor):
            if not vendor.errors:
                raise SkipTest("the vendor cannot be made to fail")
            speech = self._utterance(provider)
            for kind in sorted(vendor.errors, key=lambda each: each.__name__):
                vendor.fail(kind)
                before = vendor.calls()
                try:
                    with _no_sleep_in(self.provider):
                        await provider.recognize(speech.utterance, _context())
                except ProviderError as error:
                    assert isinstance(error, kind), f"the vendor failed as {kind.__name__}, the provider says {error!r}"
                    assert str(error), "an error without words"
                    self._check_secret(provider, str(error))
                    assert not isinstance(error, Unreachable) or error.__cause__ or error.__context__, "the network's own error is lost"
                else:
                    raise AssertionError(f"the vendor failed as {kind.__name__} and nothing was raised")
                made = vendor.calls() - before
                most = 2 if kind is Unreachable else 1  # a kept connection that proves dead may be replaced once, at once
                assert made <= most, f"a call that failed was made {made} times; trying again is the core's work"
                vendor.recover()
                self._check(speech, await provider.recognize(speech.utterance, _context()))

    @_promise
    async def test_a_cancelled_call_ends_and_leaves_nothing(self) -> None:
        async with self._started() as (provider, vendor):
            speech = self._utterance(provider)
            await provider.recognize(speech.utterance, _context())  # opens what is kept open
            before = _others()
            with suppress(NotImplementedError):
                vendor.hold()
            task = asyncio.create_task(provider.recognize(speech.utterance, _context()))
            try:
                await vendor.arrived()
            except NotImplementedError:
                await _turns()
            await _cancelled(task, self.promptly)
            with suppress(NotImplementedError):
                await vendor.idle()
            await _until(lambda: _others() <= before, "the cancelled call left tasks behind", self.promptly)
            with suppress(NotImplementedError):
                vendor.recover()
            self._check(speech, await provider.recognize(speech.utterance, _context()))

    # What it promises about its life.

    @_promise
    async def test_making_one_opens_nothing(self) -> None:
        async with self.vendor() as vendor:
            tasks, sockets = _others(), _sockets()
            self._made(vendor)
            assert _others() == tasks, "the constructor starts a task; `start` is the place"
            assert _sockets() == sockets, "the constructor opens a socket; `start` is the place"

    @_promise
    async def test_it_can_be_closed_twice_and_without_a_start(self) -> None:
        async with self.vendor() as vendor:
            provider = self._made(vendor)
            await provider.aclose()
            await provider.start()
            await provider.aclose()
            await provider.aclose()

    @_promise
    async def test_it_can_be_started_again(self) -> None:
        async with self._started() as (provider, _):
            await provider.aclose()
            await provider.start()
            await self._ready(provider)
            speech = self._utterance(provider)
            self._check(speech, await provider.recognize(speech.utterance, _context()))

    @_promise
    async def test_closing_it_leaves_no_task_and_no_socket(self) -> None:
        async with self.vendor() as vendor:
            tasks, sockets = _others(), _sockets()
            provider = self._made(vendor)
            async with _closing(provider):
                await provider.start()
                await self._ready(provider)
                await provider.recognize(self._utterance(provider).utterance, _context())
            await _until(lambda: _others() <= tasks, "tasks are left behind", self.promptly)
            await _until(lambda: _sockets() <= sockets, "sockets are left behind", self.promptly)

    @_promise
    async def test_a_call_before_it_is_ready_waits_or_says_so(self) -> None:
        async with self.vendor() as vendor, _closing(self._made(vendor)) as provider:
            await provider.start()
            speech = self._utterance(provider)
            try:
                self._check(speech, await provider.recognize(speech.utterance, _context()))
            except NotReady:
                assert provider.health().reason, "it is not ready and does not say why"

    @_promise
    async def test_its_health_and_status_can_be_shown_to_anyone(self) -> None:
        async with self.vendor() as vendor, _closing(self._made(vendor)) as provider:
            for moment in ("before", "after"):
                health = provider.health()
                assert isinstance(health, Health)
                assert health.ready or health.reason, "it is not ready and does not say why"
                shown = json.dumps(dict(provider.status()), ensure_ascii=False, allow_nan=False)
                self._check_secret(provider, shown + repr(provider.settings) + repr(health))
                if moment == "before":
                    await provider.start()
                    await self._ready(provider)
                    speech = self._utterance(provider)
                    await provider.recognize(speech.utterance, _context())
            if self.hears_tones:
                assert speech.text not in shown, "the status shows what was said"

    # How the promises are tried.

    def _made(self, vendor: Vendor) -> Provider:
        settings = self.provider.Settings.model_validate(dict(self.settings(vendor)))
        return self.make(settings, Host("conformance", provider_type=provider_type), vendor)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[Provider, Vendor]]:
        async with AsyncExitStack() as stack:
            vendor = await stack.enter_async_context(self.vendor())
            provider = await stack.enter_async_context(_closing(self._made(vendor)))
            await provider.start()
            await self._ready(provider)
            yield provider, vendor

    async def _ready(self, provider: Provider) -> None:
        await _until(lambda: provider.health().ready, "it does not become ready", self.patience)

    def _utterance(self, provider: Provider, take: int = 0, format: AudioFormat | None = None) -> _Take:
        format = format or provider.capabilities.formats[0]
        speech = self.speech(format, take)
        return _Take(Utterance(speech.pcm, format), speech.text)

    def _live(self, provider: Provider) -> _Take:
        if not provider.capabilities.streaming:
            raise SkipTest("streaming is not declared")
        return self._utterance(provider)

    def _check(self, speech: _Take, answer: Recognition) -> None:
        assert isinstance(answer, Recognition), f"not a Recognition: {answer!r}"
        assert self.matches(speech.text, answer.text), f"{speech.text!r} was recognised as {answer.text!r}"

    def _check_secret(self, provider: Provider, shown: str) -> None:
        for name, value in provider.settings:
            for secret in _secrets(value):
                assert secret not in shown, f"what stands in the setting {name!r} is a secret and was shown"


@dataclass(frozen=True, slots=True)
class _Take:
    utterance: Utterance
    text: str


def _context(**options: Any) -> Context:
    return Context("conformance", asyncio.get_running_loop().time() + 600, Options(**options))


@asynccontextmanager
async def _closing(provider: Provider) -> AsyncIterator[Provider]:
    try:
        yield provider
    finally:
        await provider.aclose()


async def _pieces(utterance: Utterance, seconds: float = 0.1) -> AsyncIterator[bytes]:
    """As a microphone gives them, but at once; odd sizes, as a network makes them."""
    size = int(seconds * utterance.format.bytes_per_second) | 1
    for first in range(0, len(utterance.pcm), size):
        yield bytes(utterance.pcm[first : first + size])
        await asyncio.sleep(0)


async def _turns() -> None:
    """Lets a call get under way, where nobody can say when it is."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _cancelled(task: asyncio.Task[Any], within: float) -> None:
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=within)
    assert done, f"a cancelled call is still running after {within} s"
    if not task.cancelled() and (error := task.exception()):
        raise AssertionError(f"cancelling was answered with {error!r}") from error


async def _until(holds: Callable[[], bool], otherwise: str, within: float) -> None:
    """Waits for what no event announces: sockets and tasks end a few turns of the loop after they were closed."""
    end = asyncio.get_running_loop().time() + within
    while not holds():
        assert asyncio.get_running_loop().time() < end, otherwise
        await asyncio.sleep(0.01)


def _others() -> int:
    return len(asyncio.all_tasks())


def _sockets() -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return 0
    found = 0
    for each in folder.iterdir():
        with suppress(OSError):
            found += os.readlink(each).startswith("socket:")
    return found


def _check_words(words: tuple[Word, ...], text: str, start: float, end: float) -> None:
    before = start
    for word in words:
        assert word.text, "a word without text"
        assert before - 0.001 <= word.start <= word.end <= end + 0.05, f"{word} is not in order or not within {start} to {end} s"
        before = word.start
    assert _bare("".join(word.text for word in words)) == _bare(text), f"the words {words} are not the text {text!r}"


def _bare(text: str) -> str:
    return "".join(each for each in text if each.isalnum()).casefold()


def _secrets(value: object) -> list[str]:
    match value:
        case SecretStr():
            return [value.get_secret_value()] if value.get_secret_value() else []
        case Mapping():
            return [secret for each in value.values() for secret in _secrets(each)]
        case tuple() | list() | frozenset():
            return [secret for each in value for secret in _secrets(each)]
        case Section():
            return [secret for _, each in value for secret in _secrets(each)]
        case _:
            return []


def _sources(provider: type[Provider]) -> list[Path]:
    """The files of the provider's package; of a single module, that one."""
    spec = find_spec(provider.__module__.partition(".")[0])
    if spec is None or spec.origin is None:
        raise SkipTest(f"{provider.__module__} has no source files")
    if not spec.submodule_search_locations:
        return [Path(spec.origin)]
    return sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py"))


def _imports(file: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [f"{node.module}.{each.name}" if node.module == "asrproxy" else node.module for each in node.names]
    return found


def _is_within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(each + ".") for each in allowed)


@contextmanager
def _no_sleep_in(provider: type[Provider]) -> Any:
    """Fails when the provider's own code sleeps: pauses between tries are the core's."""
    package = provider.__module__.partition(".")[0]
    original = asyncio.sleep

    async def sleep(delay: float, result: Any = None) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        assert not (delay > 0 and caller.partition(".")[0] == package), f"{caller} sleeps {delay} s over a failed call"
        return await original(delay, result)

    asyncio.sleep = sleep
    try:
        yield
    finally:
        asyncio.sleep = original

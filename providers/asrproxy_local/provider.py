"""The provider `local`: one utterance to the embedded recogniser, and its text back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from asrproxy.plugin import (
    AttemptTimeout,
    Capabilities,
    ConfigError,
    Context,
    Health,
    Host,
    Noted,
    NotReady,
    Options,
    Provider,
    ProviderSettings,
    Recognition,
    Unavailable,
    UnsupportedParameter,
    Utterance,
    Word,
)
from asrproxy_local.engine import Engine, State
from asrproxy_local.fetching import prepare_whisper
from asrproxy_local.heard import Heard, Order
from asrproxy_local.languages import of_tag, whisper_speaks
from asrproxy_local.process import Crashed, NotLoaded
from asrproxy_local.punctuation import without_punctuation
from asrproxy_local.settings import LocalSettings


class LocalProvider(Provider):
    """Recognises on this machine, in a process of its own that is loaded at the start and ended when idle."""

    Settings: ClassVar[type[ProviderSettings]] = LocalSettings
    summary = "embedded recogniser, no account: moonshine (English) or whisper (Mandarin and more)"
    capabilities: Capabilities = LocalSettings().capabilities()

    def __init__(self, settings: LocalSettings, host: Host) -> None:
        super().__init__(settings, host)
        self.capabilities = settings.capabilities()
        self._settings = settings
        self._engine = Engine(prepare=self._prepare, most=settings.at_once(), idle=settings.idle, told=self._tell)

    async def start(self) -> None:
        if wrong := self._settings.missing():
            raise ConfigError(f"providers.{self.host.name}: {wrong}")
        self._engine.start()

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self._refuse_what_it_has_not(context.options)
        order = self._order(utterance, context.options)
        try:
            async with asyncio.timeout(max(0.0, context.remaining())):
                heard = await self._engine.recognize(order, utterance.pcm)
        except TimeoutError as error:
            if self._engine.state is State.LOADING:
                raise NotReady(f"{self._settings.engine} is still loading", retry_after=1.0) from error
            raise AttemptTimeout("the embedded recogniser did not end in time") from error
        except NotLoaded as error:
            raise NotReady(f"the embedded recogniser is not ready: {error}") from error
        except Crashed as error:
            raise Unavailable(f"the embedded recogniser failed: {error}") from error
        return self._recognition(heard, context.options)

    def health(self) -> Health:
        if self._engine.failure is not None:
            return Health(False, self._engine.failure)
        if self._engine.state is State.CLOSED:
            return Health(False, "not started")
        if not self._engine.started:
            return Health(False, f"loading {self._settings.engine}")
        return Health()  # asleep, too: the next call wakes it

    def status(self) -> Mapping[str, object]:
        return {
            "engine": self._settings.engine,
            "state": str(self._engine.state),
            "pid": self._engine.pid,
            "calls": self._engine.calls,
            "processes_started": self._engine.started,
            "load_seconds": self._engine.load_seconds,
            "concurrency": self._settings.at_once(),
        }

    async def aclose(self) -> None:
        await self._engine.aclose()

    async def _prepare(self) -> Mapping[str, Any]:
        settings = self._settings
        if settings.engine == "moonshine":
            return {"engine": "moonshine"}
        folder = await prepare_whisper(settings, self.host.cache, lambda what: self.host.announce(Noted("info", what, {})))
        return {
            "engine": "whisper",
            "folder": str(folder),
            "threads": settings.working_threads(),
            "concurrency": settings.at_once(),
            "beam": settings.beam,
        }

    def _tell(self, reason: str) -> None:
        self.host.announce(Noted("error", "the embedded recogniser does not load", {"provider": self.host.name, "reason": reason}))

    def _refuse_what_it_has_not(self, options: Options) -> None:
        for name in options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"engine {self._settings.engine} has no {name}", param=name)
        language = options.language or self._settings.language
        if language and not (self.capabilities.speaks(language) and whisper_speaks(language)):
            raise UnsupportedParameter(f"engine {self._settings.engine} does not recognise {language}", param="language")
        self._refuse_punctuation(options, language)

    def _refuse_punctuation(self, options: Options, language: str | None) -> None:
        # Whisper base wrote marks into one of four Mandarin sentences: it cannot promise them.
        if options.punctuation and language and of_tag(language) == "zh":
            raise UnsupportedParameter("whisper does not punctuate Chinese reliably", param="punctuation")

    def _order(self, utterance: Utterance, options: Options) -> Order:
        return Order(
            rate=utterance.format.sample_rate,
            language=options.language or self._settings.language,
            words=options.words,
            vocabulary=options.vocabulary,
            prompt=options.prompt,
            temperature=options.temperature,
        )

    def _recognition(self, heard: Heard, options: Options) -> Recognition:
        self._refuse_punctuation(options, heard.language)
        text, words = heard.text, heard.words
        if options.punctuation is False:
            text = without_punctuation(text)
            words = words and tuple((bare, start, end) for word, start, end in words if (bare := without_punctuation(word)))
        return Recognition(
            text=text,
            words=None if words is None else tuple(Word(word, start, end) for word, start, end in words),
            language=options.language or self._settings.language or heard.language,
        )

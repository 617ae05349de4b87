"""The provider `replay`: another provider's answers, recorded in a folder once and played back without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import ClassVar, cast

from asrproxy.plugin import (
    AudioFormat,
    Capabilities,
    ConfigError,
    Connections,
    Context,
    Health,
    Host,
    Options,
    Provider,
    ProviderSettings,
    Recognition,
    Refused,
    Rejected,
    StreamEvent,
    TokenAge,
    UnsupportedParameter,
    Utterance,
)
from asrproxy_replay.recordings import Folder, Profile, Unusable
from asrproxy_replay.settings import ReplaySettings
from asrproxy_replay.takes import Playback, Recorder, TapeRunsOut


class ReplayProvider(Provider):
    """Has the capabilities of the provider whose answers it holds."""

    Settings: ClassVar[type[ProviderSettings]] = ReplaySettings
    summary = "for tests: records another provider's answers in a folder and plays them back without a network"
    capabilities: Capabilities = Capabilities()

    def __init__(self, settings: ReplaySettings, host: Host) -> None:
        super().__init__(settings, host)
        self._settings = settings
        self._folder = Folder(settings.folder)
        self.vendor: Provider | None = None
        """The provider whose answers are recorded; None: there is nobody to ask."""
        if settings.mode != "replay" and settings.provider is not None:
            self.vendor = host.make(settings.provider)
            self.capabilities = self.vendor.capabilities
        self._beginning = asyncio.Lock()
        self._started = False
        self._played = self._recorded = 0

    async def start(self) -> None:
        if self.vendor is None or self._settings.provider is None:
            self.capabilities = (await asyncio.to_thread(self._folder.recorded)).capabilities
            return
        if self._settings.mode == "record":  # where everything is recorded, auto needs no vendor and no network
            await self._begin(self.vendor)
        await asyncio.to_thread(self._folder.claim, Profile(self._settings.provider.type, self.capabilities))

    async def recognize(self, utterance: Utterance, context: Context) -> Recognition:
        self._refuse_what_is_not_claimed(context.options)
        with _usable():
            if self._settings.mode != "record":
                answer = await asyncio.to_thread(self._folder.answer, utterance, context.options)
                if answer is not None:
                    self._played += 1
                    return answer
                if self.vendor is None:
                    raise self._missing(f"this audio ({utterance.duration:.2f} s)", utterance.format, context.options)
            answer = await (await self._asked()).recognize(utterance, context)
            await asyncio.to_thread(self._folder.keep, utterance, context.options, answer)
            self._recorded += 1
            return answer

    async def stream(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[StreamEvent]:
        if not self.capabilities.streaming:
            raise UnsupportedParameter(f"provider {self.host.name!r} has no streaming", param="stream")
        self._refuse_what_is_not_claimed(context.options)
        heard: list[bytes] = []
        with _usable():
            if self._settings.mode != "record":
                begun = False
                try:
                    async with aclosing(self._play(audio, format, context.options, heard)) as events:
                        async for event in events:
                            begun = True
                            yield event
                    return
                except TapeRunsOut as tape:
                    if self.vendor is None or begun:
                        raise self._missing("this stream", format, context.options) from tape
            async with aclosing(self._record(audio, format, context, heard)) as events:
                async for event in events:
                    yield event

    def health(self) -> Health:
        """While nobody has to be asked, the folder is always ready."""
        return self.vendor.health() if self.vendor is not None and self._started else Health()

    def status(self) -> Mapping[str, object]:
        figures = {"mode": self._settings.mode, "played": self._played, "recorded": self._recorded}
        return figures if self.vendor is None else figures | {"provider": dict(self.vendor.status())}

    def connections(self) -> Connections | None:
        return None if self.vendor is None else self.vendor.connections()

    def token_age(self) -> TokenAge | None:
        return None if self.vendor is None else self.vendor.token_age()

    async def aclose(self) -> None:
        self._started = False
        if self.vendor is not None:
            await self.vendor.aclose()

    async def _play(
        self, audio: AsyncIterator[bytes], format: AudioFormat, options: Options, heard: list[bytes]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Raises TapeRunsOut. heard: takes what was used up of the audio, while somebody could be asked about it instead."""
        playback = Playback(await asyncio.to_thread(self._folder.takes, format, options))
        begun = self.vendor is None
        async for piece in audio:
            if not begun:
                heard.append(piece)
            for event in playback.hear(piece):
                begun = True
                yield event
        for event in playback.end():
            yield event
        self._played += 1

    async def _record(
        self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context, heard: list[bytes]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Asks the vendor, and keeps what it says once it has said all of it. heard: what comes before the audio."""
        vendor = await self._asked()
        recorder = Recorder()

        async def taken_down() -> AsyncIterator[bytes]:
            for piece in heard:
                recorder.sent(piece)
                yield piece
            async for piece in audio:
                recorder.sent(piece)
                yield piece
            recorder.ended()

        async with aclosing(cast("AsyncGenerator[StreamEvent, None]", vendor.stream(taken_down(), format, context))) as events:
            async for event in events:
                recorder.came(event)
                yield event
        if (take := recorder.take()) is not None:
            await asyncio.to_thread(self._folder.keep_take, format, context.options, take)
            self._recorded += 1

    async def _asked(self) -> Provider:
        """The vendor, started when the first answer is missing. Raises Refused: it cannot be started."""
        assert self.vendor is not None  # noqa: S101 -- modes that ask have one, by the settings
        try:
            await self._begin(self.vendor)
        except ConfigError as error:
            raise Refused(f"the provider whose answers are recorded does not start: {error}") from error
        return self.vendor

    async def _begin(self, vendor: Provider) -> None:
        async with self._beginning:
            if self._started:
                return
            try:
                await vendor.start()
            except BaseException:
                await vendor.aclose()
                raise
            self._started = True
            self.capabilities = vendor.capabilities

    def _refuse_what_is_not_claimed(self, options: Options) -> None:
        for name in options.asked():
            if name not in self.capabilities.options:
                raise UnsupportedParameter(f"provider {self.host.name!r} has no {name}", param=name)
        if not self.capabilities.speaks(options.language):
            raise UnsupportedParameter(f"provider {self.host.name!r} does not recognise {options.language}", param="language")

    def _missing(self, what: str, format: AudioFormat, options: Options) -> Rejected:
        """Nobody's failure that a circuit should count, and not to be tried again."""
        wanted = f"{what} at {format.sample_rate} Hz, asked for {_said(options)},"
        return Rejected(
            f"{wanted} is not recorded in {self._settings.folder}: record it once, with mode {self._better_mode()} and the provider's "
            "type, keys and credentials below `provider`"
        )

    def _better_mode(self) -> str:
        return "auto" if self.vendor is None else "record"


@contextmanager
def _usable() -> Iterator[None]:
    """A file that cannot be read or written fails the call in words; asking the vendor again would not mend it."""
    try:
        yield
    except Unusable as error:
        raise Rejected(str(error)) from error


def _said(options: Options) -> str:
    """What was asked for, without what people may have written into it."""
    language = f"language {options.language}" if options.language is not None else ""
    return ", ".join(filter(None, (language, *options.asked()))) or "nothing special"

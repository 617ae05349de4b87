"""The multipart body of a transcription call, in pieces: the audio is never copied as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from asrproxy.plugin import Options, Utterance
from asrproxy_http.wav import wav_header
from asrproxy_openai.settings import OpenAISettings


@dataclass(frozen=True, slots=True)
class Form:
    """head and tail enclose the samples of `pcm`."""

    head: bytes
    pcm: memoryview
    tail: bytes
    boundary: str

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the body. Its length is known, so it is not sent chunked, which some servers refuse."""
        return {"Content-Type": f"multipart/form-data; boundary={self.boundary}"}

    @property
    def body(self) -> tuple[bytes, memoryview, bytes]:
        """The pieces that make the body."""
        return self.head, self.pcm, self.tail


def form_of(utterance: Utterance, options: Options, settings: OpenAISettings) -> Form:
    """The call for one utterance: what the caller asks for goes before the provider's configuration."""
    boundary = uuid4().hex
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in _fields(options, settings)
    )
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    pcm = memoryview(utterance.pcm).cast("B")
    return Form((fields + file).encode() + wav_header(utterance), pcm, f"\r\n--{boundary}--\r\n".encode(), boundary)


def _fields(options: Options, settings: OpenAISettings) -> Sequence[tuple[str, str]]:
    language = options.language or settings.language
    prompt = settings.prompt if options.prompt is None else options.prompt
    temperature = settings.temperature if options.temperature is None else options.temperature
    fields = [("model", settings.model), ("response_format", settings.response_format)]
    if language:
        fields.append(("language", language.partition("-")[0].lower()))  # the API takes ISO 639-1
    if prompt:
        fields.append(("prompt", prompt))
    if temperature is not None:
        fields.append(("temperature", f"{temperature:g}"))
    if options.words:
        fields.append(("timestamp_granularities[]", "word"))
    return fields

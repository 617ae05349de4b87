"""What a caller asks for and what the configuration says, in the vendor's words for each interface."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from asrproxy.plugin import Options, UnsupportedParameter
from asrproxy_aliyun.settings import AliyunSettings

ASR_PATH: Final = "/stream/v1/asr"
FLASH_PATH: Final = "/stream/v1/FlashRecognizer"
WS_PATH: Final = "/ws/v1"


def asr_query(settings: AliyunSettings, options: Options) -> str:
    """The query of one-sentence recognition over HTTP, encoded."""
    return urlencode({"appkey": settings.appkey.get_secret_value(), **_spoken(_common(settings, options) | _detection(settings))})


def start_payload(settings: AliyunSettings, options: Options, *, transcriber: bool, interim: bool = False) -> dict[str, Any]:
    """The payload of StartRecognition, or of StartTranscription with word times."""
    payload = _common(settings, options)
    payload["enable_intermediate_result"] = interim
    if transcriber:
        payload["enable_words"] = options.words
        if settings.max_sentence_silence is not None:
            payload["max_sentence_silence"] = settings.max_sentence_silence
    else:
        payload |= _detection(settings)
    return payload


def flash_query(settings: AliyunSettings, options: Options, token: str) -> str:
    """The query of FlashRecognizer, encoded. It always punctuates, so not wanting that cannot be had."""
    if options.punctuation is False:
        raise UnsupportedParameter("FlashRecognizer has no text without punctuation", param="punctuation")
    query: dict[str, Any] = {
        "appkey": settings.appkey.get_secret_value(),
        "token": token,
        "format": "wav",
        "sample_rate": settings.sample_rate,
        "first_channel_only": True,
        "enable_inverse_text_normalization": settings.itn if options.itn is None else options.itn,
        "enable_word_level_result": options.words,
    }
    return urlencode(_spoken(query | _lists(settings, options)))


def joined(texts: list[str], language: str | None) -> str:
    """Sentences as the language writes them: Chinese and Japanese without a space."""
    between = "" if language is None or language.partition("-")[0].lower() in ("zh", "ja", "yue") else " "
    return between.join(filter(None, texts))


def _common(settings: AliyunSettings, options: Options) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format": "pcm",
        "sample_rate": settings.sample_rate,
        "enable_punctuation_prediction": settings.punctuation if options.punctuation is None else options.punctuation,
        "enable_inverse_text_normalization": settings.itn if options.itn is None else options.itn,
    }
    if settings.disfluency:
        values["disfluency"] = True
    return values | _lists(settings, options)


def _lists(settings: AliyunSettings, options: Options) -> dict[str, Any]:
    vocabulary = options.vocabulary or settings.vocabulary_id
    if vocabulary is not None and "," in vocabulary:
        raise UnsupportedParameter("NLS takes the id of a hot-word list, not the words themselves", param="vocabulary")
    lists = {"vocabulary_id": vocabulary, "customization_id": settings.customization_id}
    return {name: value for name, value in lists.items() if value is not None}


def _detection(settings: AliyunSettings) -> dict[str, Any]:
    return {"enable_voice_detection": True} if settings.voice_detection else {}


def _spoken(values: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}

"""FlashRecognizer: a long utterance whole, in one POST, with sentences and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from yarl import URL

from asrproxy.plugin import Garbled, Options, Recognition, Utterance, Word
from asrproxy_aliyun.parameters import FLASH_PATH, flash_query, joined
from asrproxy_aliyun.pool import Pool
from asrproxy_aliyun.rest import decoded, refusal_of, vendor_id_of
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import NO_SPEECH, SUCCESS
from asrproxy_http.exchange import Answer
from asrproxy_http.wav import wav_header

_LARGEST: Final = 100 * 10**6  # bytes of one call
_LONGEST: Final = 2 * 3600.0


def longest(sample_rate: int) -> float:
    """Seconds of one call: 100 MB or two hours, whichever comes first, and a second less."""
    return min(_LONGEST, _LARGEST / (2 * sample_rate)) - 1


class Flash:
    """FlashRecognizer over the same connections as `rest`. Commercial edition only."""

    def __init__(self, settings: AliyunSettings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def recognize(self, utterance: Utterance, options: Options, token: str) -> Recognition:
        """Raises a ProviderError; TokenRefused where the token may be to blame."""
        # Its token goes in the query (and nowhere else), so the address is not kept.
        url = URL(f"{self._settings.gateway}{FLASH_PATH}?{flash_query(self._settings, options, token)}", encoded=True)
        head = self._pool.head(url, {"Content-Type": "application/octet-stream"})
        answer = await self._pool.post(head, wav_header(utterance), utterance.pcm)
        return recognition_of(answer, options, self._settings.language)


def recognition_of(answer: Answer, options: Options, language: str | None) -> Recognition:
    """The answer of FlashRecognizer: the sentences of the first channel, joined."""
    body = decoded(answer)
    code = body["status"]
    if code in NO_SPEECH:
        none = () if options.words else None
        return Recognition("", words=none, language=language, vendor_id=vendor_id_of(body), sentences=())
    if code != SUCCESS:
        raise refusal_of(answer, body)
    try:
        # Channels are counted from 0 by the vendor's table and from 1 by its example; the first is the one that comes first.
        every = body["flash_result"].get("sentences") or []
        sentences = [each for each in every if each.get("channel_id") == every[0].get("channel_id")]
        text = joined([str(each["text"]) for each in sentences], language)
        words = tuple(_words(sentences)) if options.words else None
        timed = tuple(Word(str(each["text"]), float(each["begin_time"]) / 1000, float(each["end_time"]) / 1000) for each in sentences)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Garbled("FlashRecognizer says success and gives no sentences", vendor_code=code) from error
    return Recognition(text, words=words, language=language, vendor_id=vendor_id_of(body), sentences=timed)


def _words(sentences: Sequence[dict[str, Any]]) -> list[Word]:
    # Times are milliseconds, as numbers or as strings; `punc` follows its word.
    return [
        Word(f"{word['text']}{word.get('punc') or ''}", float(word["begin_time"]) / 1000, float(word["end_time"]) / 1000)
        for sentence in sentences
        for word in sentence.get("words") or []
    ]

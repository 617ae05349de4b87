"""Whether a text is much too short for the speech that was sent."""

from __future__ import annotations

from asrproxy.plugin import Context, Recognition, Truncated, Utterance
from asrproxy_aliyun.settings import TruncatedSettings


async def check(recognition: Recognition, utterance: Utterance, context: Context, settings: TruncatedSettings) -> None:
    """Raises Truncated. The detector is asked only where the text would be too short if everything sent were speech."""
    longest = utterance.duration
    if longest < settings.min_seconds or len(recognition.text) >= 2 * settings.chars_per_second * longest:
        return
    said = sum(each.isalnum() for each in recognition.text)
    if said >= settings.chars_per_second * longest:
        return
    voiced = await context.voiced(utterance)
    if voiced >= settings.min_seconds and said < settings.chars_per_second * voiced:
        raise Truncated(
            f"{said} characters for {voiced:.1f} s of clear speech (see `truncated`)", text=recognition.text, vendor_code=20000000
        )

"""Puts what a reading lacked between its words, where it was said."""

from __future__ import annotations

from asrproxy.text.join import join
from asrproxy.text.seam import Reading
from asrproxy.text.tokens import tokens


def filled(reading: Reading, missing: Reading, *, at: float, language: str | None) -> Reading:
    """The reading with `missing` before its first word that begins after `at`. Times are seconds on one clock.

    Where the words of the reading say something else than its text (digits against number words) the text is written anew from them:
    only they tell where the missing belongs.
    """
    words = reading.words or ()
    text = reading.text
    found = tokens(text, words)
    if words and (not found or found[0].start is None):
        text = join((word.text for word in words), language)
        found = tokens(text, words)
    place = next((each.first for each in found if each.start is not None and each.start >= at), len(text))
    before, after = (tuple(word for word in words if (word.start < at) is earlier) for earlier in (True, False))
    return Reading(join((text[:place], missing.text, text[place:]), language), before + (missing.words or ()) + after)

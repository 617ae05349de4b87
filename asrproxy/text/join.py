"""Joins the texts of neighbouring segments as their language writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from asrproxy.text.tokens import unspaced

CLOSING: Final = frozenset("，。！？、；：,.!?;:…")
_UNSPACED_LANGUAGES: Final = frozenset({"zh", "ja", "yue", "cmn", "wuu"})


def join(texts: Iterable[str], language: str | None = None) -> str:
    """The texts in order: no space beside Chinese or Japanese, one between words of other scripts, whatever the language is called.

    Where neither side tells the script (digits, marks), `language` (BCP 47) decides. A mark is not put twice at a seam; no letter or
    digit is ever added, dropped or changed.
    """
    joined = ""
    for each in texts:
        text = " ".join(each.split()) if "\n" in each else each.strip()
        if joined and joined[-1] in CLOSING:
            text = text.lstrip("".join(CLOSING)).lstrip() if not _decimal(text) else text
        if text:
            joined += (_between(joined, text, language) if joined else "") + text
    return joined


def _decimal(text: str) -> bool:
    """`.5` begins with a number, not with a mark."""
    return len(text) > 1 and text[0] == "." and text[1].isdigit()


def _between(left: str, right: str, language: str | None) -> str:
    if right[0] in CLOSING and not _decimal(right):
        return ""
    if unspaced(left[-1]) or unspaced(right[0]):
        return ""
    if left[-1].isalnum() and right[0].isalnum():
        return " "  # two words, or two numbers, must not become one, in Chinese neither
    return "" if language is not None and language.partition("-")[0].lower() in _UNSPACED_LANGUAGES else " "

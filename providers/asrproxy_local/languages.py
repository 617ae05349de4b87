"""Languages as callers write them and as whisper does."""

from __future__ import annotations

from typing import Final, Literal

Script = Literal["zh-hans", "zh-hant"]

# Whisper's own list (openai/whisper, tokenizer.py); `yue` is left out, since only large-v3 has it.
_CODES: Final = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr"
    " az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo"
    " tl mg as tt haw ln ha ba jw su"
)
_WHISPER: Final = frozenset(_CODES.split())
_SAME: Final = {"cmn": "zh", "nb": "no", "fil": "tl", "jv": "jw", "iw": "he", "in": "id"}
_TRADITIONAL: Final = frozenset({"hant", "tw", "hk", "mo"})


def of_tag(tag: str) -> str:
    """Whisper's code for a BCP 47 tag: its primary subtag, or whisper's name for that."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return _SAME.get(primary, primary)


def whisper_speaks(tag: str) -> bool:
    """Whether whisper has the language of a tag."""
    return of_tag(tag) in _WHISPER


def script_of(tag: str) -> Script:
    """The script that Chinese is wanted in: traditional for Taiwan, Hong Kong, Macao or `Hant`, else simplified."""
    return "zh-hant" if _TRADITIONAL & set(tag.replace("_", "-").lower().split("-")[1:]) else "zh-hans"

"""Taking the punctuation out of a text."""

from __future__ import annotations

import re
from typing import Final

# A point, comma or colon between digits belongs to the number, an apostrophe or hyphen between letters to the word.
_MARKS: Final = re.compile(
    r"""(?<!\d)[.,:]|[.,:](?!\d)|(?<!\w)['’‘-]|['’‘-](?!\w)|[!?;"“”«»()\[\]{}…–—‐‑、。，．：；！？「」『』（）《》〈〉【】·・～¡¿।؟،؛]"""
)
_SPACES: Final = re.compile(r"\s+")


def without_punctuation(text: str) -> str:
    """`text` with its sentence marks gone and everything that is part of a word or a number kept."""
    return _SPACES.sub(" ", _MARKS.sub(" " if " " in text else "", text)).strip()

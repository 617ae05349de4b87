"""A hook of mkdocs: what a page links to outside of docs/ is named instead, since the built site does not hold it."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final

LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """The page with such links as text: `[the manifests](../deploy/k8s)` to `the manifests (deploy/k8s)`."""
    base = posixpath.dirname(page.file.src_uri)

    def named(found: re.Match[str]) -> str:
        text, target, _ = found.groups()
        if "://" in target:
            return found[0]
        place = posixpath.normpath(posixpath.join(base, target))
        if not place.startswith("../"):
            return found[0]
        path = place.removeprefix("../")
        return text if path in text else f"{text} (`{path}`)"

    return LINK.sub(named, markdown)

"""A comparison as one HTML page: figures, a picture, and every text with what differs marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from typing import TYPE_CHECKING

from asrproxy.text.tokens import tokens

if TYPE_CHECKING:
    from asrproxy.cli.versus import Pair, Total

STYLE = """
  :root {
    color-scheme: light dark; --ink: #24323d; --soft: #5d6b76; --paper: #fff; --line: #d7dee3; --a: #4d7ea8; --b: #d9622b; --mark: #fde3d6
  }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e4eaee; --soft: #9aa8b3; --paper: #172028; --line: #33424e; --a: #7fb0da; --b: #f0895a; --mark: #5b2f1c }
  }
  body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse } th, td { text-align: left; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line) }
  mark { background: var(--mark); color: inherit; border-radius: 3px } .soft { color: var(--soft) } section { margin: 2rem 0 }
  dt { font-weight: 600 } dt.a { color: var(--a) } dt.b { color: var(--b) } dd { margin: 0 0 .6rem }
  svg text { font: 13px system-ui, sans-serif; fill: var(--ink) }
"""


def page(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    """The whole page; nothing in it is fetched."""
    from asrproxy.cli.versus import totals

    sides = totals(pairs, names)
    edits, count = sum(pair.apart.edits for pair in pairs), sum(pair.apart.tokens for pair in pairs)
    title = f"{names[0]} and {names[1]} on {len(pairs)} recordings"
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>",
        f"<p>The texts differ in {edits} of {count} words or characters{_share(edits, count)}.</p>",
        _figures(sides),
        picture(pairs, names),
        *_texts(pairs, names),
    ]
    return "\n".join(parts) + "\n"


def _share(edits: int, count: int) -> str:
    return f" ({100 * edits / count:.1f} %)" if count else ""


def _figures(sides: tuple[Total, Total]) -> str:
    rows = []
    for side in sides:
        rate = "not known" if side.error_rate is None else f"{100 * side.error_rate:.1f} %"
        cost = ", ".join(f"{amount:.4g} {currency}" for currency, amount in side.cost.items()) or "not known"
        cells = (side.name, rate, f"{side.seconds:.2f} s", f"{side.slowest:.2f} s", cost)
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{each}</th>" for each in ("", "error rate", "mean time", "slowest", "cost"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def picture(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    """A bar a side for each recording: what is wrong where that is known, else one for what differs. An SVG element."""
    rows = [(pair.name, list(_bars(pair))) for pair in pairs]
    highest = max((share for _, bars in rows for _, share in bars), default=0.0) or 1.0
    left, width, y = 260, 560, 10
    parts = []
    for name, bars in rows:
        parts.append(f'<text x="{left - 10}" y="{y + 13}" text-anchor="end">{escape(name[-36:])}</text>')
        for colour, share in bars:
            length = max(1.0, share / highest * width)
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.0f}" height="10" fill="var(--{colour})"/>')
            parts.append(f'<text x="{left + length + 8:.0f}" y="{y + 12}">{100 * share:.1f} %</text>')
            y += 15
        y += 8
    known = any(pair.said is not None for pair in pairs)
    what = f"wrong, of what was said: {names[0]} above, {names[1]} below" if known else "differs"
    label = f"Share of words or characters: {what}"
    drawn = f'<svg viewBox="0 0 {left + width + 80} {y + 6}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    return f'<figure>{drawn}<figcaption class="soft">{escape(label)}</figcaption></figure>'


def _bars(pair: Pair) -> Iterator[tuple[str, float]]:
    if pair.first.wrong is None or pair.second.wrong is None:
        yield "b", pair.apart.edits / max(1, pair.apart.tokens)
        return
    yield "a", pair.first.wrong.edits / max(1, pair.first.wrong.tokens)
    yield "b", pair.second.wrong.edits / max(1, pair.second.wrong.tokens)


def _texts(pairs: Sequence[Pair], names: tuple[str, str]) -> Iterator[str]:
    for pair in pairs:
        against = pair.said if pair.said is not None else pair.first.text
        parts = [f"<section><h2>{escape(pair.name)}</h2><p class='soft'>{pair.duration:.1f} s</p><dl>"]
        if pair.said is not None:
            parts.append(f"<dt>said</dt><dd>{escape(pair.said)}</dd>")
        first = marked(pair.first.text, against) if pair.said is not None else escape(pair.first.text)
        parts.append(f"<dt class='a'>{escape(names[0])}</dt><dd>{first or '<i>nothing</i>'}</dd>")
        parts.append(
            f"<dt class='b'>{escape(names[1])}</dt><dd>{marked(pair.second.text, against) or '<i>nothing</i>'}</dd></dl></section>"
        )
        yield "".join(parts)


def marked(text: str, against: str) -> str:
    """The text as HTML, with what `against` has not marked."""
    ours, theirs = tokens(text), tokens(against)
    matcher = SequenceMatcher(None, [token.key for token in theirs], [token.key for token in ours], autojunk=False)
    parts, done = [], 0
    for kind, _, _, begin, end in matcher.get_opcodes():
        if begin == end:
            continue
        first, last = ours[begin].first, ours[end - 1].last
        parts.append(escape(text[done:first]))
        piece = escape(text[first:last])
        parts.append(piece if kind == "equal" else f"<mark>{piece}</mark>")
        done = last
    return "".join(parts) + escape(text[done:])

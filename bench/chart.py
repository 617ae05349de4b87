"""Draws the tables of a run as ratios: bars on a logarithmic scale for what differs by orders, lines for what grows with load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24323d } .small { font-size: 11px; fill: #5d6b76 }
  .title { font-size: 15px; font-weight: 600 }
  .bar { fill: #9fb3c3 } .own { fill: #d9622b } .line { fill: none; stroke-width: 2.5 } .axis { stroke: #c3ccd3; stroke-width: 1 }
"""
COLOURS = ("#d9622b", "#4d7ea8")
OURS = "asrproxy"
VENDOR_MS = 800


def draw(tables: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[Path]:
    """The pictures that the tables allow; each file's path once it is written."""
    by_title = {table["title"]: table for table in tables}
    if (table := by_title.get("Throughput, always asked")) is not None:
        speed = bars(table, "asrproxy is faster x", "Requests a second, in asrproxy's (more is better, logarithmic)", below=True)
        yield _written(folder / "bench-throughput.svg", speed)
        cost = bars(table, "costs x of asrproxy", "Processor time a request, in asrproxy's (less is better, logarithmic)")
        yield _written(folder / "bench-cpu.svg", cost)
    if (table := by_title.get("Latency added at 0.8 s vendor latency, open loop")) is not None:
        columns = {"added p50 ms": "median", "added p99": "99 %"}  # 99.9 % of the slow rates is a single call
        title = "Time added to the vendor's, in percent of it, by requests a second"
        yield _written(folder / "bench-latency.svg", lines(table, columns, title, scale=100 / VENDOR_MS))


def _written(file: Path, text: str) -> Path:
    file.write_text(text, "utf-8")
    return file


def bars(table: Mapping[str, Any], column: str, title: str, *, below: bool = False) -> str:
    """A bar a row, grouped as the rows are. below: the column has asrproxy's over the row's, and the row's over asrproxy's is drawn."""
    at = table["head"].index(column)
    sizes = Counter(row[0] for row in table["rows"])
    rows = [row for row in table["rows"] if sizes[row[0]] > 1]  # alone, a bar says nothing
    values = [1 / float(row[at]) if below else float(row[at]) for row in rows]
    low, high = math.log10(min(values) / 2), math.log10(max(values))
    left, width, step, top = 300, 620, 24, 50
    parts, y, group = [f'<text class="title" x="16" y="26">{escape(title)}</text>'], top, ""
    for row, value in zip(rows, values, strict=True):
        if row[0] != group:
            group = row[0]
            y += 12
            parts.append(f'<text class="small" x="16" y="{y + 14}">{escape(group)}</text>')
            y += 22
        length = max(2.0, (math.log10(value) - low) / (high - low) * (width - 90))
        kind = "own" if row[1].startswith(OURS) else "bar"
        parts.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{escape(row[1])}</text>')
        parts.append(f'<rect class="{kind}" x="{left}" y="{y + 2}" width="{length:.0f}" height="16" rx="2"/>')
        parts.append(f'<text class="small" x="{left + length + 8:.0f}" y="{y + 14}">{value:.3g}x</text>')
        y += step
    return _picture("".join(parts), left + width + 20, y + 20)


def lines(table: Mapping[str, Any], columns: Mapping[str, str], title: str, *, scale: float) -> str:
    """A line a column, over the first column's numbers. columns: heads, with the words for them. scale: of what is drawn to the number."""
    places = [float(row[0].removesuffix("/s")) for row in table["rows"]]
    series = {words: [scale * float(row[table["head"].index(head)]) for row in table["rows"]] for head, words in columns.items()}
    left, top, width, height = 70, 50, 760, 260
    highest = max(0.5, max(max(values) for values in series.values()) * 1.1)
    lowest = min(0.0, *(min(values) for values in series.values()))

    def x(place: float) -> float:
        return left + (place - places[0]) / ((places[-1] - places[0]) or 1) * width

    def y(value: float) -> float:
        return top + height - (value - lowest) / (highest - lowest) * height

    parts = [f'<text class="title" x="16" y="26">{escape(title)}</text>']
    for mark in (lowest, (lowest + highest) / 2, highest):
        parts.append(f'<line class="axis" x1="{left}" x2="{left + width}" y1="{y(mark):.0f}" y2="{y(mark):.0f}"/>')
        parts.append(f'<text class="small" x="{left - 8}" y="{y(mark) + 4:.0f}" text-anchor="end">{mark:.3g}</text>')
    parts += [f'<text class="small" x="{x(place):.0f}" y="{top + height + 18}" text-anchor="middle">{place:g}/s</text>' for place in places]
    for colour, (name, values) in zip(COLOURS, series.items(), strict=False):
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in zip(places, values, strict=True))
        parts.append(f'<polyline class="line" stroke="{colour}" points="{points}"/>')
        number = list(series).index(name)
        parts.append(f'<rect x="{left + 150 * number}" y="{top + height + 34}" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{left + 150 * number + 20}" y="{top + height + 46}">{escape(name)}</text>')
    return _picture("".join(parts), left + width + 30, top + height + 66)


def _picture(inside: str, width: float, height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"><style>{STYLE}</style>'
    return f'{head}<rect width="100%" height="100%" fill="#fff"/>{inside}</svg>\n'

"""What was measured: as a table, as JSON and as a picture."""

# ruff: noqa: RUF001 - a ratio is written with the sign for it

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from rows import Row

BUSY = 90
"""From which share of a core on, in percent, the generator is named as the limit."""
LABEL, BAR, LINE, WIDTH = 190, 480, 20, 860
"""Of the picture, in pixels: where bars begin, how long they are at most, the height of a line, the width."""
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .back { fill: #ffffff }
.ours { fill: #0969da } .theirs { fill: #8c959f } .second { opacity: 0.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .back { fill: #0d1117 } .ours { fill: #4493f8 } .theirs { fill: #656d76 } }
"""


class Results:
    """All figures of all rounds, by row, subject and name, and why some are missing."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.figures: dict[str, dict[str, dict[str, list[float]]]] = {row.name: {} for row in rows}
        self.missing: dict[str, dict[str, str]] = {row.name: {} for row in rows}

    def add(self, row: Row, subject: str, figures: Mapping[str, float]) -> None:
        """Add the figures of one measurement."""
        kept = self.figures[row.name].setdefault(subject, {})
        for name, value in figures.items():
            kept.setdefault(name, []).append(value)

    def median(self, row: Row, subject: str, figure: str) -> float:
        """Return the median of a figure, 0 if there is none."""
        values = self.figures[row.name].get(subject, {}).get(figure)
        return statistics.median(values) if values else 0.0

    def as_json(self, facts: Mapping[str, object]) -> dict[str, object]:
        """Return all as what can be written as JSON."""
        rows = {
            row.name: {
                "subjects": {
                    subject: {name: _spread(values) for name, values in figures.items()}
                    for subject, figures in self.figures[row.name].items()
                },
                "missing": self.missing[row.name],
            }
            for row in self.rows
        }
        return {**facts, "rows": rows}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "rounds": len(values)}


def facts(root: Path, rounds: int, generators: set[str], against: Path | None) -> dict[str, object]:
    """Return what figures depend on: time, commits, machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(root),
        "earlier": _commit(against) if against else None,
        "machine": f"{os.cpu_count()} cores, {models[0].partition(': ')[2] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load": [round(load, 1) for load in os.getloadavg()],
        "rounds": rounds,
        "generators": sorted(generators),
    }


def _commit(root: Path) -> str:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def table(results: Results, facts: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of the table: medians, lowest to highest, and the first line's figure in ratio to the others'."""
    yield "; ".join(f"{name}: {value}" for name, value in facts.items())
    yield "median (lowest to highest) ×r: the figure of the first line is r times that of this line"
    for row in results.rows:
        yield f"\n{row.name}"
        measured = [subject for subject in row.subjects if subject in results.figures[row.name]]
        names = list(results.figures[row.name][measured[0]]) if measured else []
        lines = [[_cell(results, row, subject, name) for name in names] for subject in measured]
        widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
        for label, cells in zip(("", *measured), (names, *lines), strict=True):
            yield f"  {label:26}" + "".join(f"{cell:>{width + 3}}" for cell, width in zip(cells, widths, strict=True))
        yield from (f"  {subject:26}   {reason}" for subject, reason in results.missing[row.name].items())
        busy = [subject for subject in measured if results.median(row, subject, "generator %") >= BUSY]
        if busy:
            yield f"  The generator was the limit for: {', '.join(busy)}"


def _cell(results: Results, row: Row, subject: str, name: str) -> str:
    values = results.figures[row.name][subject].get(name)
    if not values:
        return "–"
    median, first = statistics.median(values), results.median(row, row.subjects[0], name)
    ratio = f" ×{first / median:.2f}" if median and subject != row.subjects[0] else ""
    return f"{_short(median)} ({_short(min(values))} to {_short(max(values))}){ratio}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004 - digits


def picture(results: Results, facts: Mapping[str, object]) -> str:
    """Return an SVG with bars of the rows that are drawn; the bars of a row have one scale."""
    title = ", ".join(str(facts[name]) for name in ("date", "commit", "machine"))
    lines, y = [f'<text x="8" y="22">{escape(title)}</text>'], 34
    for row in results.rows:
        subjects = [subject for subject in row.subjects if subject in results.figures[row.name]]
        if not (row.drawn and subjects):
            continue
        y += 26
        lines.append(f'<text class="title" x="8" y="{y}">{escape(row.name)} – {escape(" + ".join(row.drawn))}</text>')
        totals = {subject: sum(results.median(row, subject, name) for name in row.drawn) for subject in subjects}
        for subject in subjects:
            y += LINE
            scale = BAR / (max(totals.values()) or 1)
            lines += _bar(subject, [results.median(row, subject, name) for name in row.drawn], scale, y)
    box = f'width="{WIDTH}" height="{y + 16}" viewBox="0 0 {WIDTH} {y + 16}"'
    body = "\n".join(lines)
    back = '<rect class="back" width="100%" height="100%"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">\n<style>{STYLE}</style>\n{back}\n{body}\n</svg>\n'
    )


def _bar(subject: str, values: list[float], scale: float, y: int) -> Iterator[str]:
    """Yield one bar, which consists of the values one after another, with its label and its sum."""
    yield f'<text x="16" y="{y}">{escape(subject)}</text>'
    x, kind = float(LABEL), "ours" if subject.startswith("Berth") else "theirs"
    for number, value in enumerate(values):
        part = " second" if number else ""
        yield f'<rect class="{kind}{part}" x="{x:.1f}" y="{y - 12}" width="{value * scale:.1f}" height="14"/>'
        x += value * scale
    yield f'<text x="{x + 6:.1f}" y="{y}">{_short(sum(values))}</text>'

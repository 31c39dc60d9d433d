"""The benchmark: `make bench` measures the core set in about five minutes, `make bench-full` everything.

Each round measures all rows, and in each row all subjects in turn; so all have the same noise. See docs/performance.md.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import beside
import pages
import report
import rows
from loads import Generator
from servers import EARLIER, ROOT, NotInstalledError, Servers


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="measure everything; takes about an hour")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows that have NAME in their name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each load of calls lasts")
    parser.add_argument("--against", type=Path, metavar="PATH", help="a checkout of an earlier release")
    parser.add_argument(
        "--peers",
        type=Path,
        default=Path(sys.prefix),
        metavar="FOLDER",
        help="a virtual environment with FastAPI, httpx, uvicorn and LiteLLM",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    return parser.parse_args(given)


def chosen(*, full: bool, only: Sequence[str]) -> list[rows.Row]:
    """Return the rows of a set whose names have one of the texts of `only` in them."""
    others = [*rows.full(), *pages.rows(), *beside.rows()] if full else []
    named = {row.name: row for row in [*rows.core(), *others]}
    return [row for name, row in named.items() if not only or any(text in name for text in only)]


def measure(bench: rows.Bench, results: report.Results, rounds: int) -> None:
    """Measure all rows in each round; every other round goes through the subjects backwards."""
    for number in range(rounds):
        for row in results.rows:
            began = time.perf_counter()
            if number < row.most_rounds:
                for subject in row.subjects[:: -1 if number % 2 else 1]:
                    measure_one(bench, results, row, subject)
            seconds = time.perf_counter() - began
            print(f"round {number + 1} of {rounds}: {row.name}, {seconds:.0f} s", file=sys.stderr, flush=True)


def measure_one(bench: rows.Bench, results: report.Results, row: rows.Row, subject: str) -> None:
    """Measure one subject, unless it is not there."""
    missing = results.missing[row.name]
    if subject in missing or (subject == EARLIER and bench.servers.against is None):
        return
    try:
        results.add(row, subject, row.measure(bench, subject))
    except NotInstalledError as error:
        missing[subject] = f"not installed: {error}"
    except RuntimeError as error:
        missing[subject] = f"failed: {error}"


def main() -> int:
    """Measure, and write what came out; return 1 if something failed."""
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all servers are stopped then, too
    found = chosen(full=given.full, only=given.only)
    if given.list or not found:
        print("\n".join(row.name for row in chosen(full=True, only=[])))
        return 0 if given.list else 2
    against = given.against.resolve() if given.against else None
    results, bench = (
        report.Results(found),
        rows.Bench(Servers(against, given.peers.resolve()), Generator(), given.seconds),
    )
    try:
        measure(bench, results, given.rounds)
    finally:
        bench.servers.close()
        bench.generator.close()
    facts = report.facts(ROOT, given.rounds, bench.generator.names, against)
    print("\n".join(report.table(results, facts)))
    if given.json:
        given.json.write_text(json.dumps(results.as_json(facts), indent=1) + "\n")
    if given.svg:
        given.svg.write_text(report.picture(results, facts))
    return int(any(text.startswith("failed") for missing in results.missing.values() for text in missing.values()))


if __name__ == "__main__":
    sys.exit(main())

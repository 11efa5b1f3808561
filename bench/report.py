"""What every benchmark report carries, and where it goes.

A full run replaces bench/results/raw/NAME.json (figures) and bench/results/NAME.md (the same for
people), both committed: git keeps the history. A result names the commit that gave it, so there a
tree with uncommitted changes is refused, before the run. A `--quick` run proves that the benchmark
works and writes below out/bench/ instead; there, and wherever `--out` says, any tree will do, and
the commit's name ends in `-dirty` where it is not the whole truth.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
RAW = RESULTS / "raw"
QUICK = ROOT / "out" / "bench"
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Another folder than bench/results; uncommitted changes may be."),
]


class UncommittedChanges(typer.BadParameter):
    """What would be kept as a commit's result is not that commit's."""


class Spread(NamedTuple):
    """The middle and the ends of repeated measurements."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def provenance(quick: bool) -> dict[str, str]:
    """When, where and from what a report was made."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": shlex.join(["python", "-m", _module(), *sys.argv[1:]]),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "hardware": f"{_cpu_model()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB",
        "software": f"Python {platform.python_version()}, {platform.system()} {platform.release()}",
        "size": "quick" if quick else "full",
    }


def folder_for(quick: bool, out: Path | None = None) -> Path:
    """Where the report goes; asked before the run, which may be long.

    Raises:
        UncommittedChanges: it would go to bench/results from a tree that no commit describes.
    """
    folder = out or (QUICK if quick else RESULTS)
    refuse_changes(folder)
    return folder


def refuse_changes(place: Path) -> None:
    """Nothing where `place` is outside of bench/results, or the tree is that of a commit.

    Raises:
        UncommittedChanges: names what was changed.
    """
    if place.resolve().is_relative_to(RESULTS) and (found := changes()):
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise UncommittedChanges(
            f"bench/results keeps only what one commit gives, and this tree differs from "
            f"{_head()[:12] or 'any'}: {shown}. Commit, or write somewhere else (see --help)"
        )


def kept(place: Path) -> Path:
    """`place`, or where the tree was changed during the run, the same name below out/bench/: the
    figures are not lost, and not among those of a commit.
    """
    try:
        refuse_changes(place)
    except UncommittedChanges as refusal:
        elsewhere = QUICK / place.resolve().relative_to(RESULTS)
        print(f"{refusal.message}\nSo the result goes to {elsewhere}", file=sys.stderr)
        return elsewhere
    return place


def write(name: str, figures: dict[str, object], markdown: str, folder: Path) -> Path:
    """Write raw/NAME.json and NAME.md below `folder`; returns the folder, as `kept` has it."""
    folder = kept(folder)
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / f"{name}.md").write_text(markdown)
    return folder


def page_of(table: Path) -> Path:
    """The page of a file of rows: one folder up from raw/, else beside it."""
    folder = table.parent.parent if table.parent.name == "raw" else table.parent
    return folder / f"{table.stem}.md"


def changes() -> list[str]:
    """The files in which the tree differs from the commit that this process was started at;
    results themselves do not count, nor do new files that are not Python.
    """
    if not _head():
        return ["git knows no commit here"]
    tracked = _git("diff", "--name-only", _head(), "--", ".", ":!bench/results")
    new = _git("ls-files", "--others", "--exclude-standard", "--", "*.py")
    return [*tracked.splitlines(), *new.splitlines()]


def footer(origin: dict[str, str]) -> str:
    """The closing lines of a Markdown report."""
    return "\n".join(
        f"- {name}: {f'`{value}`' if name == 'command' else value}"
        for name, value in origin.items()
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its first column left and the rest right aligned."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem


def _commit() -> str:
    return (_head()[:12] or "unknown") + ("-dirty" if changes() else "")


@functools.cache
def _head() -> str:
    """The commit at the start: the code of this process is from then, whatever is checked out
    since.
    """
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30

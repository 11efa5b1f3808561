"""What every benchmark report carries, and where it goes.

A full run replaces bench/results/NAME.json (figures) and NAME.md (the same for people), both
committed: git keeps the history. A `--quick` run proves that the benchmark works and writes below
out/bench/ instead.
"""

from __future__ import annotations

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
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "bench" / "results"
QUICK = ROOT / "out" / "bench"


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


def write(name: str, figures: dict[str, object], markdown: str, quick: bool) -> Path:
    """Write NAME.json and NAME.md; returns the folder."""
    folder = QUICK if quick else COMMITTED
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / f"{name}.md").write_text(markdown)
    return folder


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
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("-dirty" if changed else "")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30

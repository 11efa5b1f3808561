"""bench/results/accuracy.md from raw/accuracy.json:
a table for each task and data set, mean and spread over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import report
from bench.accuracy import rows

INTRODUCTION = """# Accuracy

One table for each task and data set, from [accuracy.json](raw/accuracy.json) (one row a run, with
its command and commit). Figures are means over seeds; `±` is the standard deviation over seeds, and
where there is one seed there is none. Next item: the last event of each user is the test, the whole
catalogue competes, ties count against the target; plain figures do not mask the history,
`_excluded` ones take already-seen items out of the competition. State bytes are what a user costs
between two events; `-` means that the whole history is read again at each question. Click-through:
histories from before the impression only, a global split in time; multiply-adds are those of the
interest part for each candidate at a history of the longest length. Minutes are of one thread,
validation included: next item in processor time, which does not count what else ran beside it,
click-through by the clock. Machines differ by a factor of two, and on the EPYC most rows from
2026-11-27 on had MKL's AVX-512 code, which saves another quarter and more (docs/training.md, "On
AMD's processors"), so minutes of different rows compare roughly at best. In brackets: what was not
as in the recipe (`bench/accuracy/recipes.py`).
"""
FIRST = {"next-item": "ndcg10", "ctr": "auc"}  # the figure that orders a table
DIGITS = 4


def write(table: Path = rows.PATH) -> Path:
    """Render the rows of `table` into accuracy.md, as `report.page_of` has it; returns its path."""
    out = report.page_of(table)
    out.write_text(render(rows.read(table)))
    return out


def render(found: Sequence[rows.Row]) -> str:
    """The whole page in Markdown."""
    parts = [INTRODUCTION]
    for (task, dataset), group in groupby(sorted(found, key=_table_of), key=_table_of):
        parts.append(f"## {task}: {dataset}\n")
        parts.append(_section(task, list(group)))
    return "\n".join(parts)


def _table_of(row: rows.Row) -> tuple[str, str]:
    return row["task"], row["dataset"]


def _section(task: Any, found: list[rows.Row]) -> str:
    names = rows.FIGURES[task]
    models = [list(group) for _, group in groupby(sorted(found, key=rows.label), rows.label)]
    models.sort(key=lambda seeds: -statistics.mean(row[FIRST[task]] for row in seeds))
    heads = [
        "model",
        "seeds",
        *names,
        "minutes",
        "state bytes",
        *(["multiply-adds"] if task == "ctr" else []),
    ]
    lines = [
        [
            rows.label(seeds[0]),
            len(seeds),
            *(_spread([row[name] for row in seeds]) for name in names),
            f"{statistics.mean(row['train_minutes'] for row in seeds):.1f}",
            "-" if seeds[0]["state_bytes"] is None else f"{seeds[0]['state_bytes']:,}",
            *([f"{seeds[0]['multiply_adds']:,}"] if task == "ctr" else []),
        ]
        for seeds in models
    ]
    return f"{report.table(heads, lines)}\n\nCommands:\n\n" + "\n".join(_commands(found)) + "\n"


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.{DIGITS}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{DIGITS}f}"


def _commands(found: Sequence[rows.Row]) -> Iterator[str]:
    """Each command once, with the commits it was run from."""
    for command in sorted({row["command"] for row in found}):
        commits = sorted({row["commit"] for row in found if row["command"] == command})
        yield f"- `{command}` at {', '.join(commits)}"

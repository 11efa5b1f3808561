"""bench/results/accuracy.md from raw/accuracy.json:
a table for each task and data set, mean and spread over seeds, what is served first.
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
where there is one seed there is none. In brackets: what was not as in the recipe
(`bench/accuracy/recipes.py`). State bytes are what a user costs between two events; `-` means that
the whole history is read again at each question.

Each user's last event is the test, or each event after the first of a session (diginetica, tmall),
but for click-through. *by time*: each event of the newest tenth of the time line, of users who were
there before it and, in a table of their own, of *new users* (docs/studies.md, "Protocols"). `hr20`
and `mrr20` are the P@20 and MRR@20 of session papers. **What is served** comes first; it is asked
of the code that answers the API, from the states that ship:

- `recommend`: the place of that event in the list of 20 that `Recommend` gives. Plain lists hold
  items that the user has had, `_excluded` ones do not; there, an event on such an item is a miss.
- `score`: that event beside 99 other candidates, by the probabilities of `Score`. *uniform*: unseen
  items, drawn uniformly (what calibration is fitted on). *popular*: the user's 20 newest items, the
  others drawn by how often they are clicked. *top*: the first 100 of the model's own next-item
  logit; if the event is not among them it takes the place of the last. NDCG and GAUC are within
  lists, AUC is over all candidates; ties count against the event, half in AUC. Both levels are
  asked; `answers` says whether the bundle answers at that level.

**What is not**: `next-item` ranks by whole networks in float32 that read whole histories, the
references among them. The whole catalogue competes, ties count against the target; plain figures do
not mask the history, `_excluded` ones take already-seen items out of the competition, and an event
on such an item is a miss (RecBole's masking keeps it in). Simple methods, which learn by counting
from all that is known before the test (docs/decisions/0064-simple-methods.md), stand in both kinds
of tables. `ctr`: labelled impressions, histories from before each only, a global split in time;
multiply-adds are those of the interest part for each candidate at a history of the longest length.

Minutes are of one thread, validation included: in processor time, which does not count what else
ran beside it, click-through by the clock. Machines differ by a factor of two, and on the EPYC most
rows from 2026-11-27 on had MKL's AVX-512 code, which saves another quarter and more
(docs/training.md, "On AMD's processors"), so minutes of different rows compare roughly at best.
"""
# the figure that orders a table
FIRST = {"recommend": "ndcg10", "score": "ndcg10", "next-item": "ndcg10", "ctr": "auc"}
TASKS = tuple(rows.FIGURES)
DIGITS = 4


def write(table: Path = rows.PATH) -> Path:
    """Render the rows of `table` into accuracy.md, as `report.page_of` has it; returns its path."""
    out = report.page_of(table)
    out.write_text(render(rows.read(table)))
    return out


def render(found: Sequence[rows.Row]) -> str:
    """The whole page in Markdown."""
    parts = [INTRODUCTION]
    for (task, *of), group in groupby(sorted(found, key=_table_of), key=_table_of):
        parts.append(f"## {TASKS[task]}: {', '.join(filter(None, of))}\n")
        parts.append(_section(TASKS[task], list(group)))
    return "\n".join(parts)


def _table_of(row: rows.Row) -> tuple[int, str, str]:
    return TASKS.index(row["task"]), row["dataset"], row.get("candidates", "")


def _section(task: rows.Task, found: list[rows.Row]) -> str:
    beside = rows.SESSIONS if task == "next-item" else ()
    names = [*rows.FIGURES[task], *(name for name in beside if all(name in row for row in found))]
    models = [list(group) for _, group in groupby(sorted(found, key=rows.label), rows.label)]
    models.sort(key=lambda seeds: -statistics.mean(row[FIRST[task]] for row in seeds))
    heads = ["model", "seeds", *names, "minutes", "state bytes", *_more_heads(task)]
    lines = [
        [
            rows.label(seeds[0]),
            len(seeds),
            *(_spread([row[name] for row in seeds]) for name in names),
            f"{statistics.mean(row['train_minutes'] for row in seeds):.1f}",
            "-" if seeds[0]["state_bytes"] is None else f"{seeds[0]['state_bytes']:,}",
            *_more_cells(task, seeds),
        ]
        for seeds in models
    ]
    return f"{report.table(heads, lines)}\n\nCommands:\n\n" + "\n".join(_commands(found)) + "\n"


def _more_heads(task: rows.Task) -> list[str]:
    return {"ctr": ["multiply-adds"], "score": ["answers"]}.get(task, [])


def _more_cells(task: rows.Task, seeds: Sequence[rows.Row]) -> list[Any]:
    if task == "ctr":
        return [f"{seeds[0]['multiply_adds']:,}"]
    if task == "score":
        answers = sum(row.get("answered", True) for row in seeds)
        return [{0: "no", len(seeds): "yes"}.get(answers, f"{answers} of {len(seeds)}")]
    return []


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.{DIGITS}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{DIGITS}f}"


def _commands(found: Sequence[rows.Row]) -> Iterator[str]:
    """Each command once, with the commits it was run from."""
    for command in sorted({row["command"] for row in found}):
        commits = sorted({row["commit"] for row in found if row["command"] == command})
        yield f"- `{command}` at {', '.join(commits)}"

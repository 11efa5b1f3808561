"""Results of studies, as the report shows them beside a bundle: `accuracy.json` and
`compression.json` of a folder that the caller names.

They come from trainings of hours, which are no part of what is installed (docs/studies.md).
Neither file has to be there.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DatasetError

ACCURACY = "accuracy.json"
COMPRESSION = "compression.json"
RANKS = tuple(f"{name}{k}" for k in (10, 20) for name in ("hr", "ndcg", "mrr"))
FIGURES = (*RANKS, "hr10_excluded", "ndcg10_excluded", "auc", "gauc", "log_loss", "ece")
TASKS = ("recommend", "score", "next-item", "ctr")  # what is served comes first
FRONTIER = ("ndcg10", "auc", "hr10")  # the first that a row has


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model of a study on one data set: means over its seeds."""

    task: str  # with the kind of candidates, where there is one
    model: str  # with the level, where there is one
    seeds: int
    state_bytes: int | None
    figures: dict[str, float]
    spread: dict[str, float]  # largest minus smallest


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One way to write states: what it takes and what it gives."""

    label: str
    state_bytes: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The formats of one study."""

    data_set: str
    metric: str
    points: list[FrontierPoint]  # by bytes

    def best(self) -> list[FrontierPoint]:
        """Those that no other beats in both bytes and accuracy."""
        kept: list[FrontierPoint] = []
        for point in self.points:
            if not kept or point.value > kept[-1].value:
                kept.append(point)
        return kept


def read_accuracy(folder: Path, data_set: str) -> list[ModelResult]:
    """The models of `accuracy.json` on that data set, what is served first,
    by task and name; none where there is no file.

    Raises:
        DatasetError: the file is damaged.
    """
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _rows(folder / ACCURACY):
        if row.get("dataset") == data_set and "model" in row:
            task = _named(row, "task", "candidates")
            runs.setdefault((task, _named(row, "model", "level")), []).append(row)
    return [
        _summary(task, model, runs[task, model])
        for task, model in sorted(runs, key=lambda run: (_place(run[0]), *run))
    ]


def read_frontier(folder: Path) -> Frontier | None:
    """What `compression.json` holds, smallest state first; None where there is no file or no row.

    Raises:
        DatasetError: the file is damaged.
    """
    content = _content(folder / COMPRESSION)
    rows = _rows(folder / COMPRESSION)
    metric = next((name for name in FRONTIER if rows and all(name in row for row in rows)), None)
    if metric is None:
        return None
    try:
        points = [
            FrontierPoint(
                label=str(row["states"]),
                state_bytes=int(row["state_bytes"]),
                value=float(row[metric]),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / COMPRESSION, error) from error
    data_set = str(content.get("data", "")) if isinstance(content, dict) else ""
    points.sort(key=lambda point: (point.state_bytes, -point.value))
    return Frontier(data_set=data_set, metric=metric, points=points)


def _named(row: dict[str, Any], *parts: str) -> str:
    return " ".join(str(row[part]) for part in parts if part in row)


def _place(task: str) -> int:
    """Where a task stands among all, those that are not known last."""
    return next((place for place, known in enumerate(TASKS) if task.startswith(known)), len(TASKS))


def _summary(task: str, model: str, rows: list[dict[str, Any]]) -> ModelResult:
    columns = {name: [float(row[name]) for row in rows if name in row] for name in FIGURES}
    return ModelResult(
        task=task,
        model=model,
        seeds=len(rows),
        state_bytes=rows[0].get("state_bytes"),
        figures={name: statistics.fmean(values) for name, values in columns.items() if values},
        spread={name: max(values) - min(values) for name, values in columns.items() if values},
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    content = _content(path)
    try:
        return [dict(row) for row in (content["rows"] if isinstance(content, dict) else content)]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _content(path: Path) -> Any:
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} is no table of results ({error!r}); name another folder with --results"
    )

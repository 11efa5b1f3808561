"""The table of accuracy results: bench/results/raw/accuracy.json, one row a run,
replaced when the same run is made again.

Runs take hours and are made one by one, on several cores or machines, so each adds its own row to
the file.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from bench import report

Task = Literal["recommend", "score", "next-item", "ctr"]
Row = Mapping[str, Any]
# what is served comes first, here and on the page
FIGURES: Mapping[Task, tuple[str, ...]] = {
    "recommend": tuple(
        f"{name}{k}{suffix}"
        for suffix in ("", "_excluded")
        for k in (10, 20)
        for name in ("hr", "ndcg", "mrr")
    ),
    "score": ("ndcg10", "auc", "gauc", "log_loss", "ece"),
    "next-item": ("hr10", "ndcg10", "mrr10", "hr10_excluded", "ndcg10_excluded", "mrr10_excluded"),
    "ctr": ("auc", "gauc", "log_loss", "ece"),
}
SESSIONS = ("hr20", "mrr20")  # beside those of `next-item`: P@20 and MRR@20 of session papers
PATH = report.RAW / "accuracy.json"


def row(
    task: Task,
    dataset: str,
    model: str,
    seed: int,
    figures: Mapping[str, float],
    *,
    train_minutes: float,
    state_bytes: int | None,
    **more: object,
) -> dict[str, Any]:
    """One run, with the command that this process was started with,
    the commit it was made from, and the machine.

    `state_bytes` are what a user costs between two events, None where the whole history is read
    again each time. `more` is kept beside the figures, such as intervals and multiply-adds.

    Raises:
        ValueError: a figure of the task is missing.
    """
    if missing := [name for name in FIGURES[task] if name not in figures]:
        raise ValueError(
            f"{model} on {dataset}: a {task} row needs {missing} too, got {sorted(figures)}"
        )
    origin = report.provenance(quick=False)
    return {
        "task": task,
        "dataset": dataset,
        "model": model,
        "seed": seed,
        **{name: round(float(value), 5) for name, value in figures.items()},
        "train_minutes": round(train_minutes, 1),
        "state_bytes": state_bytes,
        **more,
        "command": origin["command"],
        "commit": origin["commit"],
        "date": origin["date"][:10],
        "hardware": origin["hardware"],
    }


def add(new: Row, path: Path = PATH) -> None:
    """Put a row into the file, in the place of an earlier one with the same
    key; safe beside other processes. Goes where `report.kept` says.
    """
    path = report.kept(path)
    with _only_one(path):
        kept = [old for old in read(path) if _key(old) != _key(new)]
        ordered = sorted([*kept, new], key=_key)
        # one line a row: a diff shows which runs are new
        text = ",\n".join(json.dumps(each) for each in ordered)
        beside = path.with_suffix(".tmp")
        beside.write_text(f"[\n{text}\n]\n")
        beside.replace(path)


def read(path: Path = PATH) -> list[dict[str, Any]]:
    """All rows, ordered by their keys; none where there is no file yet."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def label(one: Row) -> str:
    """The model, its level where scores are of one, and whatever was not as in its recipe:
    `echorank-int8 FULL (epochs=14)`.
    """
    other = [f"{name}={value}" for name, value in sorted(one.get("changed", {}).items())]
    if "teachers" in one:
        other.append(f"teachers={one['teachers']}")
    name = " ".join(str(one[part]) for part in ("model", "level") if part in one)
    return f"{name} ({', '.join(other)})" if other else name


def _key(one: Row) -> tuple[Any, ...]:
    """What makes two rows the same run."""
    return one["task"], one["dataset"], one.get("candidates", ""), label(one), one["seed"]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

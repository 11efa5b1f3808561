"""The results as they are committed: all in the index, each of a commit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import index, report
from bench.accuracy import rows
from bench.answers import overload

PAGE = report.RESULTS / "README.md"
LINK = re.compile(r"\]\(([^)]+)\)")


def test_the_index_is_what_the_rows_say() -> None:
    """After a result was written: `python -m bench.index`."""
    assert PAGE.read_text() == index.render()


def test_every_result_is_in_the_index_and_every_link_resolves() -> None:
    """Rows and pages, and no other file lies there."""
    linked = set(LINK.findall(PAGE.read_text()))
    there = {
        str(path.relative_to(report.RESULTS))
        for path in report.RESULTS.rglob("*")
        if path.is_file() and path != PAGE and path.suffix != ".lock"
    }
    assert linked == there


def test_pages_link_to_what_is_there() -> None:
    """A page may name its rows."""
    for page in report.RESULTS.glob("*.md"):
        for target in LINK.findall(page.read_text()):
            assert (report.RESULTS / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("path", sorted(report.RAW.glob("*.json")), ids=lambda path: path.name)
def test_every_row_is_of_a_commit(path: Path) -> None:
    """None was made from a tree with uncommitted changes."""
    content = json.loads(path.read_text())
    runs = content if isinstance(content, list) else [content.get("provenance", content)]
    commits = {run["commit"] for run in runs}
    changed = {commit for commit in commits if not re.fullmatch("[0-9a-f]{12}", commit)}
    assert not changed


def accuracy_row(task: str, dataset: str, model: str, state_bytes: int | None) -> rows.Row:
    """A run of that model, as good as any other."""
    return {
        "task": task,
        "dataset": dataset,
        "model": model,
        "seed": 0,
        "ndcg10": 0.25,
        "state_bytes": state_bytes,
        "command": f"run {model}",
        "commit": "0",
        "date": "2026-01-01",
    }


def test_tables_of_every_task_and_protocol_are_indexed() -> None:
    """A table is in the index if it has the product and another model; its question says how the
    data set was divided.
    """
    found = [
        accuracy_row("recommend", "tmall", "echorank-int8", 3_664),
        accuracy_row("recommend", "tmall", "session-knn", None),
        accuracy_row("next-item", "ml-1m, by time", "echorank", None),
        accuracy_row("next-item", "ml-1m, by time", "popularity", 0),
        accuracy_row("next-item", "beauty", "sasrec", None),
        accuracy_row("score", "beauty", "echorank-int8", 3_664),
    ]
    entries = {entry.question: entry.command for entry in index.of_accuracy(found)}
    assert entries == {
        "How well is the next item ranked (ml-1m, by time, plain)?": "run echorank",
        "How good are the lists that are served (tmall, each click of a session, plain)?": (
            "run echorank-int8"
        ),
    }


def test_an_answer_is_of_the_last_checkout() -> None:
    """Where two were compared, the index speaks of the newer one."""
    runs = [
        {"checkout": checkout, "load": load, "part": part}
        for checkout, parts in (("before", (1.0, 0.2)), ("after", (1.0, 0.8)))
        for load, part in zip(("64 clients", "2 times the capacity"), parts, strict=True)
    ]
    assert overload({"rows": runs}) == "80% of the capacity at 2 times the capacity"

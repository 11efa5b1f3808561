"""bench/results/README.md: one row a question, with its answer in a sentence, and where it is from.

    python -m bench.index

Write it anew whenever a result was; a test compares. Answers are read from the rows, so none can
outlive its figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import report
from bench.accuracy import rows
from bench.answers import ANSWERS, accuracy, answered, ours_of, question_of

HEADS = ("question", "answer", "command", "date", "commit", "rows, page")
INTRODUCTION = """# Results

What was measured, each question with its answer. The rows in `raw/` were made by the command at the
commit (of several runs, by the first one's); a page shows them for people. Written by
`python -m bench.index` from the rows alone. Machines differ, and are named in rows or page: read
ratios before absolute figures.
"""


class Entry(NamedTuple):
    """A line of the index."""

    question: str
    answer: str
    command: str
    date: str
    commit: str
    file: str


def write(results: Path = report.RESULTS) -> Path:
    """Write the index of the results in that folder; returns its path."""
    path = results / "README.md"
    path.write_text(render(results))
    return path


def render(results: Path = report.RESULTS) -> str:
    """The whole page in Markdown.

    Raises:
        ValueError: a file of rows has no question.
        KeyError: a row has not the figure that the answer names.
    """
    found = {path.stem: json.loads(path.read_text()) for path in (results / "raw").glob("*.json")}
    lines = [
        (*entry[:2], f"`{entry.command}`", *entry[3:5], _links(results, entry.file))
        for name in sorted(found, key=["accuracy", *ANSWERS].index)
        for entry in _entries(name, found[name])
    ]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    head = "\n".join("| " + " | ".join(each) + " |" for each in (HEADS, ["---"] * len(HEADS)))
    return "\n".join([INTRODUCTION, head, *("| " + " | ".join(line) + " |" for line in cells), ""])


def _entries(name: str, content: Any) -> Iterator[Entry]:
    if name == "accuracy":
        yield from of_accuracy(content)
        return
    question, answer = ANSWERS[name]
    if isinstance(content, list):
        yield _of_rows(question, answer(content), [row for row in content if answered(row)], name)
    else:
        origin = content.get("provenance", content)
        made = (origin["command"], origin["date"][:10], origin["commit"])
        yield Entry(question, answer(content), *made, name)


def of_accuracy(content: Sequence[rows.Row]) -> Iterator[Entry]:
    """One question a task and data set."""
    for task, dataset in sorted({(row["task"], row["dataset"]) for row in content}):
        group = [row for row in content if (row["task"], row["dataset"]) == (task, dataset)]
        ours = ours_of(task, group)
        if ours is None:
            continue
        used = [row for row in group if rows.label(row) == ours]
        yield _of_rows(question_of(task, dataset), accuracy(task, ours, group), used, "accuracy")


def _of_rows(question: str, answer: str, used: Sequence[rows.Row], file: str) -> Entry:
    """An answer from several runs: the first one's command, the last date, every commit."""
    commits = dict.fromkeys(row["commit"] for row in used)
    date = max(row["date"] for row in used)
    return Entry(question, answer, used[0]["command"], date, ", ".join(commits), file)


def _links(results: Path, name: str) -> str:
    page = f", [{name}.md]({name}.md)" if (results / f"{name}.md").exists() else ""
    return f"[{name}.json](raw/{name}.json){page}"


if __name__ == "__main__":
    print(write())

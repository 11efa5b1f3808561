"""What ring attention and slots are worth in what is served: heads without them, side by side.

No gradient of the head reaches what the next-item logit is made of, so one training can bring up
several heads on one network: they differ by nothing but what they see. Each is then shipped with
that network, and asked as `Recommend` (in the order of clicks: its 100 best by the next-item logit
sorted by the head) and `Score` answer, from folded states. SEQUENCE alone, without a head, is asked
the same way.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from bench import report
from bench.accuracy import next_item, rows
from bench.accuracy.ablations import titled
from bench.accuracy.heads.network import WHOLE, WITHOUT, ManyHeads, ManyHeadsTask
from bench.accuracy.recipes import recipe_of
from bench.accuracy.served import Found, as_served
from bench.accuracy.split import Split
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.levels import Level
from model.order import Order
from model.state import layout
from training.data import datasets
from training.data.clicklog import ClickLog, factorize
from training.data.sequences import Held
from training.fit.allocation import prepare_process
from training.fit.train import TrainConfig, train
from training.measure.shelves import Shelf
from training.measure.strength import strength_of
from training.publish import assess, unpublished

ALONE = "next-item logit alone"
SHELVES = (Shelf.UNIFORM, Shelf.POPULAR)
TABLE = report.RAW / "heads.json"
LISTS = ("hr10", "ndcg10", "hr10_excluded", "ndcg10_excluded")
SCORES = ("gauc", "ndcg10")


class Answers(NamedTuple):
    """What is served with one head, or without."""

    name: str
    lists: Found
    scores: Mapping[str, Mapping[str, float]]  # by shelf


def measure(
    split: Split, data: str, title: str, seed: int, table: Path, base: Mapping[str, Any]
) -> list[rows.Row]:
    """Train once, ask with each head; add the rows of the set called `title`."""
    settings = {**recipe_of(data, "echorank"), **base, "seed": seed}
    shape, recipe = next_item.configured(settings, ModelConfig, TrainConfig)
    model = train(
        shape,
        recipe,
        split.vocabulary,
        split.training,
        split.validation,
        show_progress=False,
        on_epoch=next_item.say,
        network_type=ManyHeads,
        task_type=ManyHeadsTask,
        strength=1.0,  # each head has its own
    )
    network = model.network
    assert isinstance(network, ManyHeads)
    added: list[rows.Row] = []
    date = datetime.now(UTC).date().isoformat()
    # of one head for all: it changes no order within a list
    whole = assess(model, split.training, split.validation, data_set=data, date=date)
    for name, without in WITHOUT.items():
        network.wear(name)
        strength = strength_of(network, split.validation, seed)
        network.evidence.temper(strength)
        bundle = unpublished(network, whole.items, whole.answering, whole.calibration)
        for answers in ask(bundle, split.test, name, seed):
            added.append(
                rows.row(
                    "recommend",
                    title,
                    answers.name,
                    seed,
                    answers.lists.figures,
                    train_minutes=model.seconds / 60,
                    state_bytes=_bytes(shape, without if answers.name == name else ("slots",)),
                    scores=answers.scores,
                    strength=strength if answers.name == name else 0.0,
                    asked=int(split.test.tails.sum()),
                )
            )
            rows.add(added[-1], table)
            typer.echo(f"{_line(answers)}  strength {added[-1]['strength']}")
    return added


def ask(bundle: Bundle, held: Held, name: str, seed: int) -> Iterator[Answers]:
    """What is served at FULL in the order of clicks;
    with the whole head also what is at SEQUENCE, which is the same with each.
    """
    full = bundle.limited(Level.FULL).ordered(Order.CLICK)
    lists, *scored = as_served(full, held, SHELVES, seed)
    yield Answers(name, lists, _scores(scored, Level.FULL))
    if name == WHOLE:
        lists, *_ = as_served(bundle.ordered(Order.NEXT_ITEM), held, (), seed)
        yield Answers(ALONE, lists, _scores(scored, Level.SEQUENCE))


def _scores(scored: Sequence[Found], level: Level) -> dict[str, dict[str, float]]:
    return {
        found.more["candidates"]: {name: round(found.figures[name], 5) for name in SCORES}
        for found in scored
        if found.more["level"] == level.name
    }


def _bytes(shape: ModelConfig, without: Sequence[str]) -> int:
    """Of a state, less the slots where none are read."""
    own = layout(shape)
    return own.row_bytes - (own.row_bytes - own.slot_scale if "slots" in without else 0)


def _line(answers: Answers) -> str:
    figures = answers.lists.figures
    found = [f"{name} {figures[name]:.4f}" for name in LISTS]
    for shelf, scores in answers.scores.items():
        found += [f"{shelf} {name} {value:.4f}" for name, value in scores.items()]
    return f"{answers.name}: {'  '.join(found)}"


def markdown(found: Sequence[rows.Row]) -> str:
    """heads.md: a table for each data set, means over seeds."""
    scores = [(shelf.value, name) for shelf in SHELVES for name in SCORES]
    parts = [
        "# What the head sees, and what that is worth in what is served\n\nFour heads learned side "
        "by side on one network\n(`bench/accuracy/heads/study.py`): each is asked as `Recommend`, "
        "its 100\nbest by the next-item logit sorted by clicks, and as `Score` among 100 "
        "candidates. States are folded, in their\nshipped bytes. Means over seeds.\n"
    ]
    for data in sorted({row["dataset"] for row in found}):
        lines = []
        for name in (ALONE, *WITHOUT):
            runs = [row for row in found if (row["dataset"], row["model"]) == (data, name)]
            if runs:
                values = [[row[figure] for row in runs] for figure in LISTS]
                values += [[row["scores"][shelf][of] for row in runs] for shelf, of in scores]
                means = [f"{statistics.mean(each):.4f}" for each in values]
                strength = f"{statistics.mean(row['strength'] for row in runs):.2f}"
                size = f"{runs[0]['state_bytes']:,}"
                lines.append((name, len(runs), *means, strength, size))
        heads = (
            "sees",
            "seeds",
            *LISTS,
            *(" ".join(score) for score in scores),
            "strength",
            "state bytes",
        )
        parts.append(f"## {data}\n\n{report.table(heads, lines)}\n")
    commands = sorted({f"- `{row['command']}` at {row['commit']}, {row['date']}" for row in found})
    return "\n".join([*parts, "Commands:\n", *commands, ""])


def heads(
    data: Annotated[str, typer.Option(help="Data set by name.")] = "ml-100k",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="The first is 0.", min=1)] = 1,
    users: Annotated[
        int | None, typer.Option(help="Only the newest so many users or sessions of the log.")
    ] = None,
    asked: Annotated[
        int | None, typer.Option(help="Held-out events, about; those of every n-th user.", min=1)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, over the recipe; repeatable."),
    ] = None,
    table: Annotated[
        Path, typer.Option(help="The file of rows; heads.md comes beside it, or above raw/.")
    ] = TABLE,
) -> None:
    """What ring attention and slots are worth in the lists and scores that are served."""
    try:
        base = next_item.parse(changes or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    report.refuse_changes(table)
    prepare_process()
    log = datasets.load(data, path=path)
    split = Split.by(data, log if users is None else newest(log, users))
    if asked is not None:
        every = max(1, int(split.test.tails.sum()) // asked)
        split = dataclasses.replace(split, test=split.test.share(0, every))
    title = titled(data, {**base, **({} if users is None else {"users": users})})
    for seed in range(seeds):
        measure(split, data, title, seed, table, base)
        written = report.kept(table)
        report.page_of(written).write_text(markdown(rows.read(written)))


def newest(log: ClickLog, users: int) -> ClickLog:
    """The events of the `users` users whose first events are the newest."""
    log = log.by_time()
    codes, names = factorize(log.users)  # in the order of their first events
    return log.take(codes >= len(names) - users)

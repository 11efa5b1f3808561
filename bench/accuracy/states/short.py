"""What answers are worth after 0, 1, 2, 3, 5, 10 and more events, beside simple methods.

A log is cut in time: the newest fifth is asked about, each event right before it came, a user's
first one too. The model learns from the earlier part by the recipe of `echorank train`, and answers
as it serves: lists of `Bundle.recommend` from states folded event by event. The simple methods know
the same earlier part, and each user's own events so far.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import report
from model.arrays import Longs
from training.data import datasets
from training.data.clicklog import ClickLog
from training.data.sequences import Histories
from training.fit.allocation import prepare_process
from training.fit.train import TrainConfig
from training.measure import metrics
from training.measure.ranking import Ranking
from training.measure.served import rank_targets
from training.publish import shipped
from training.recipe.choice import choose
from training.recipe.look import look
from training.rules.methods import METHODS, POPULARITY, rankings
from training.runs import Run, train_by_time

ASKED = 0.2  # of the events, the newest
EDGES = (1, 2, 3, 5, 10, 30, 100)  # events before: 0, 1, 2, 3 to 4, and so on
EACH_MAX = 2_000  # questions of one group
K = 10
SERVED = "recommend"


def labels() -> list[str]:
    """The names of the groups."""
    inner = [
        str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in pairwise(EDGES)
    ]
    return ["0", *inner, f"{EDGES[-1]} or more"]


def groups_of(histories: Histories, targets: Longs) -> Longs:
    """The group (m,) of each target, a flat position: by how many events its user had before."""
    users = np.searchsorted(histories.starts, targets, side="right") - 1
    return np.searchsorted(EDGES, targets - histories.starts[users], side="right")


def questions(histories: Histories, since_ms: int, items: int, each_max: int, seed: int) -> Longs:
    """Flat positions (m,), ascending, of events from `since_ms` on whose item is in the catalogue
    (row < `items`), first events of users among them: of each group at most `each_max`, drawn.
    """
    found = np.flatnonzero((histories.times_ms >= since_ms) & (histories.items < items))
    group = groups_of(histories, found)
    random = np.random.default_rng(seed)
    kept = [random.permutation(found[group == one])[:each_max] for one in range(len(EDGES) + 1)]
    return np.sort(np.concatenate(kept))


def rows_of(found: Mapping[str, Ranking], groups: Longs) -> list[dict[str, Any]]:
    """One row a group that has questions, with HR and NDCG at 10 of each who answers."""
    rows = []
    for group, label in enumerate(labels()):
        at = groups == group
        if at.any():
            figures = {
                name: {
                    "hr10": round(float(metrics.hit_ratio(ranking.plain[at], K).mean()), 4),
                    "ndcg10": round(float(metrics.ndcg(ranking.plain[at], K).mean()), 4),
                }
                for name, ranking in found.items()
            }
            rows.append({"events": label, "questions": int(at.sum()), "figures": figures})
    return rows


def measure(
    data: str, log: ClickLog, *, minutes: float, seed: int, each_max: int
) -> tuple[Run, list[dict[str, Any]]]:
    """Train on the earlier part of the log, ask about the rest."""
    ordered = log.by_time()
    since_ms = int(ordered.times_ms[int(len(ordered) * (1 - ASKED))])
    earlier = ordered.take(ordered.times_ms < since_ms)
    recipe = choose(look(earlier))
    run = train_by_time(
        earlier,
        data_set=data,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        shape=recipe.shaped(),
        settings=TrainConfig(**{**recipe.training, "minutes_max": minutes, "seed": seed}),
    )
    vocabulary = run.model.vocabulary
    items = len(vocabulary.items)
    histories = Histories.of(ordered, vocabulary)
    targets = questions(histories, since_ms, items, each_max, seed)
    found = {SERVED: rank_targets(shipped(run.checkpoint), histories, targets)}
    known = Histories.of(earlier, vocabulary)
    found |= rankings((POPULARITY, *METHODS), known, histories, targets, items)
    return run, rows_of(found, groups_of(histories, targets))


def markdown(found: Mapping[str, Sequence[Mapping[str, Any]]], about: dict[str, str]) -> str:
    """short.md: a table for each data set."""
    parts = [
        "# What an answer is worth after so many events\n\nHR@10 / NDCG@10, the whole catalogue, "
        f"history not masked; `{SERVED}` as served (`bench/accuracy/states/short.py`). The "
        "highest NDCG@10 of each row is bold.\n"
    ]
    for data, rows in found.items():
        names = list(rows[0]["figures"])
        cells = [_cells(row) for row in rows]
        heads = ("events before", "questions", *names)
        parts.append(f"## {data}\n\n{report.table(heads, cells)}\n")
    return "\n".join([*parts, report.footer(about), ""])


def _cells(row: Mapping[str, Any]) -> list[str]:
    figures = row["figures"]
    best = max(each["ndcg10"] for each in figures.values())
    shown = []
    for each in figures.values():
        text = f"{each['hr10']:.4f} / {each['ndcg10']:.4f}"
        shown.append(f"**{text}**" if each["ndcg10"] == best else text)
    return [row["events"], f"{row['questions']:,}", *shown]


def short(
    data: Annotated[
        list[str], typer.Option(help="NAME, or NAME=PATH of a set that PyPI does not carry.")
    ] = ["ml-100k"],  # noqa: B006 - typer's form of a default
    minutes: Annotated[float, typer.Option(help="Longest training on one set.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of training and questions.")] = 0,
    quick: Annotated[
        bool, typer.Option(help="One minute, 200 questions a group; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """HR@10 and NDCG@10 by how many events a user had before, beside the simple methods.

    One training a data set. Writes bench/results/short.md and raw/short.json after each.
    """
    place = report.folder_for(quick, out)
    prepare_process()
    minutes = 1.0 if quick else minutes
    about = {"minutes a training": str(minutes), "seed": str(seed)} | report.provenance(quick)
    found: dict[str, list[dict[str, Any]]] = {}
    for each in data:
        name, _, path = each.partition("=")
        if name in datasets.DATASETS and not datasets.DATASETS[name].global_time:
            raise typer.BadParameter(f"{name} has no common clock, so no part of it is the newest")
        log = datasets.load(name, path=Path(path) if path else None)
        each_max = 200 if quick else EACH_MAX
        run, found[name] = measure(name, log, minutes=minutes, seed=seed, each_max=each_max)
        for row in found[name]:
            print(name, row, flush=True)
        about |= {f"{name}, seconds of training": f"{run.model.seconds:.0f}"}
        report.write("short", {"data": found, **about}, markdown(found, about), place)

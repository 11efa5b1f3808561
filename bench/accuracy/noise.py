"""What random clicks cost, with and without spectral filter and window attention.

Clicks on random items are put between a user's own: in the histories of the test alone, or in
training as well. What is to be predicted never changes.
"""

from __future__ import annotations

import datetime
import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import report
from model.arrays import Longs
from training.data import datasets
from training.data.clicklog import ClickLog
from training.data.protocols import ITEM_EVENTS_MIN
from training.data.sequences import Held, Histories, Vocabulary
from training.fit.allocation import prepare_process
from training.fit.checkpoint import Checkpoint
from training.fit.train import TrainConfig, train
from training.measure.evaluate import NetworkRanker, rank
from training.publish import assess
from training.recipe.choice import choose
from training.recipe.look import look

SHARES = (0.0, 0.1, 0.2, 0.4)  # random clicks for each own click
FRONTS = {
    "filter and attention": (True, True),
    "filter": (True, False),
    "attention": (False, True),
    "neither": (False, False),
}


def inject(
    histories: Histories, items: int, share: float, seed: int, *, kept_last: int = 1
) -> Histories:
    """The histories with random clicks: after each event,
    with probability `share`, one on any of `items` items.

    None comes after the last but `kept_last` event of a user, so that the last `kept_last` + 1 stay
    neighbours.
    """
    random = np.random.default_rng(seed)
    ends = np.repeat(histories.starts[1:], histories.lengths())
    place = np.arange(len(histories.items))
    noisy = (random.random(len(place)) < share) & (place < ends - 1 - kept_last)
    take = np.repeat(place, 1 + noisy)
    added: Longs = np.append(take[1:] == take[:-1], False)
    added = np.roll(added, 1)  # the second of two equal places
    columns = [
        np.array(column[take])
        for column in (histories.items, histories.actions, histories.times_ms)
    ]
    columns[0][added] = random.integers(0, items, int(added.sum()))
    starts = np.concatenate([[0], np.cumsum(1 + noisy)])[histories.starts]
    return Histories(
        users=histories.users,
        items=columns[0],
        actions=columns[1],
        times_ms=columns[2],
        starts=starts,
    )


def cell(
    log: ClickLog, front: str, trained_on: float, out: Path, settings: TrainConfig, data: str
) -> Checkpoint:
    """The model of one cell: read from `out` if an earlier run trained it,
    else trained and saved there.
    """
    if (out / "model.json").exists():
        return Checkpoint.load(out)
    spectral, window = FRONTS[front]
    changes = {"spectral_filter": spectral, "window_attention": window}
    shape = choose(look(log)).shaped(changes)
    vocabulary = Vocabulary.of(log, hashed=shape.hashed_items)
    everything = inject(
        Histories.of(log, vocabulary), len(vocabulary.items), trained_on, settings.seed, kept_last=2
    )
    training = everything.without_last(2)
    held = Held.last(everything.without_last(1))
    model = train(shape, settings, vocabulary, training, held, show_progress=False)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    checkpoint = assess(model, training, held, data_set=data, date=date)
    checkpoint.save(out)
    return checkpoint


def measure(checkpoint: Checkpoint, log: ClickLog, share: float, seed: int) -> dict[str, float]:
    """HR@10 and NDCG@10 of every user's last event,
    after a history with a `share` of random clicks.
    """
    items = len(checkpoint.items)
    vocabulary = Vocabulary.of(log, hashed=checkpoint.network.config.hashed_items)
    histories = inject(Histories.of(log, vocabulary), items, share, seed)
    found = rank(NetworkRanker(checkpoint.network), Held.last(histories), items).summary()
    return {name: round(found[name], 4) for name in ("hr10", "ndcg10")}


def markdown(rows: list[dict[str, Any]], about: dict[str, str]) -> str:
    """noise.md: a table for noise in the test alone, and one for noise in training too."""
    tables = []
    for title, noisy in (
        ("Noise in the test histories alone", False),
        ("Noise in training as well", True),
    ):
        cells = [
            (front, *(_shown(rows, front, share if noisy else 0.0, share) for share in SHARES))
            for front in FRONTS
        ]
        heads = ("front of the model", *(f"{share:.0%} random clicks" for share in SHARES))
        tables.append(f"## {title}\n\n{report.table(heads, cells)}\n")
    return (
        f"# Random clicks\n\nHR@10 / NDCG@10.\n\n{chr(10).join(tables)}\n{report.footer(about)}\n"
    )


def _shown(rows: list[dict[str, Any]], front: str, trained_on: float, share: float) -> str:
    for row in rows:
        if (row["front"], row["trained_on"], row["tested_on"]) == (front, trained_on, share):
            return f"{row['hr10']:.4f} / {row['ndcg10']:.4f}"
    return "-"


def noise(
    data: Annotated[str, typer.Option(help="Data set by name.")] = "ml-1m",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Longest training of one cell.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of trainings and noise.")] = 0,
    quick: Annotated[
        bool, typer.Option(help="Two models, one noisy test each; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """HR and NDCG under 0 to 40 % random clicks,
    with and without spectral filter and window attention.

    16 trainings, each kept below out/noise/, so that a run that was stopped goes on; clear that
    folder to begin anew. Writes bench/results/noise.md and raw/noise.json after each.
    """
    place = report.folder_for(quick, out)
    prepare_process()
    log = datasets.load(data, path=path).with_frequent_items(ITEM_EVENTS_MIN)
    settings = TrainConfig(minutes_max=minutes, seed=seed)
    about = {
        "data": data,
        "minutes a training": str(minutes),
        "seeds": str(seed),
    } | report.provenance(quick)
    rows: list[dict[str, Any]] = []
    cells = list(product(SHARES, FRONTS))
    for trained_on, front in [(0.0, "filter"), (0.0, "neither")] if quick else cells:
        trained = Path("out", "noise", data, f"{front}-{trained_on}-{seed}-{minutes}")
        checkpoint = cell(log, front, trained_on, trained, settings, data)
        for share in (SHARES if not trained_on else (trained_on,))[: 2 if quick else None]:
            about_row = {"front": front, "trained_on": trained_on, "tested_on": share, "seed": seed}
            rows.append(about_row | measure(checkpoint, log, share, seed))
            print(json.dumps(rows[-1]), flush=True)
        figures: dict[str, object] = {"rows": rows, **about}
        report.write("noise", figures, markdown(rows, about), place)

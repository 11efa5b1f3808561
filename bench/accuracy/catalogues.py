"""What the size of a catalogue costs, and what a sampled softmax costs in accuracy.

Made-up logs (`bench.accuracy.walks`) of 10,000, 100,000 and 1,000,000 items and equally many clicks
are learned with the full softmax, where that takes no hours, and with the sampled one: minutes an
epoch, memory, accuracy beside popularity; then what the bundle weighs and how long loading it and a
call of Recommend take. Beside it, the same two on real logs. Each training is a process of its own,
whose peak memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import report
from bench.accuracy import next_item
from bench.accuracy.recipes import recipe_of
from bench.accuracy.split import Split
from bench.accuracy.walks import walks
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.network.export import write_bundle
from model.state import zeros
from training.data import datasets
from training.data.sequences import Held, Vocabulary
from training.finishing import ASKED_MAX
from training.fit.allocation import prepare_process
from training.fit.train import TrainConfig, TrainedModel, train
from training.measure.evaluate import NetworkRanker, affordable, rank
from training.measure.served import clicks_of, rank_targets
from training.publish import unpublished
from training.rules.popular import popular
from training.rules.rule import rank_by

SHAPE: Mapping[str, Any] = {"width": 64, "expand": 2}
MADE: Mapping[str, Any] = {**SHAPE, "tokens": 1_600, "learning_rate": 2e-3, "epochs": 2}
LENGTH = 20
FULL_MAX = 100_000  # items; with more, an epoch of the full softmax takes hours
MEBIBYTE = 1 << 20
CALLS = 40
FIGURES = ("hr10", "ndcg10")
HEADS = ("log", "items", "clicks", "softmax", "minutes an epoch", "validation s", "peak MiB")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training: of a made-up log of so many `items` and `users`, or of a real one by name."""

    items: int = 0
    users: int = 0
    data: str = ""
    path: Path | None = None
    settings: Mapping[str, Any]
    shipped: bool = False  # whether its bundle is measured as well


def jobs(quick: bool, data: Sequence[str], epochs: int) -> Iterator[Job]:
    """All trainings of the study; `data` are NAME or NAME=PATH."""
    sizes = (200, 400) if quick else (10_000, 100_000, 1_000_000)
    users = 40 if quick else 25_000
    drawn = {"drawn": 50} if quick else {}
    for items in sizes:
        if items <= FULL_MAX:
            yield Job(items=items, users=users, settings={**MADE, "softmax": "full"})
        sampled = {**MADE, **drawn, "softmax": "sampled"}
        yield Job(items=items, users=users, settings=sampled, shipped=True)
    for each in data:
        name, _, path = each.partition("=")
        for softmax in ({"softmax": "full"}, *sampled_of(quick)):
            settings = {**recipe_of(name, "echorank"), "epochs": epochs, **softmax}
            yield Job(data=name, path=Path(path) if path else None, settings=settings)


def sampled_of(quick: bool) -> Iterator[dict[str, Any]]:
    """Sampled softmaxes of several sizes."""
    for drawn in (50,) if quick else (512, 4_096):
        yield {"softmax": "sampled", "drawn": drawn}


def measured(job: Job) -> dict[str, Any]:
    """Train as `job` says; what it cost and what came of it."""
    prepare_process()
    shape, settings = next_item.configured(job.settings, ModelConfig, TrainConfig)
    division = divided(job, shape.hashed_items)
    items = len(division.vocabulary.items)
    began = time.process_time()
    model = train(
        shape,
        settings,
        division.vocabulary,
        division.training,
        division.validation,
        show_progress=False,
        on_epoch=next_item.say,
    )
    minutes = (time.process_time() - began) / 60 / len(model.history)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBIBYTE
    began = time.process_time()
    rank(NetworkRanker(model.network), affordable(division.validation, items), items)
    seconds = time.process_time() - began
    counts = division.training.counts(items)
    histories = division.test.histories
    targets = division.test.targets(items, clicks_of(items, ASKED_MAX), np.random.default_rng(0))
    bundle = unpublished(model.network, division.vocabulary.items, counts)
    ranking = rank_targets(bundle, histories, targets).summary()
    simple = rank_by(popular(counts), histories, targets).summary()
    return {
        "log": job.data or "made up",
        "items": items,
        "clicks": len(division.training.items),
        "softmax": "full" if not settings.samples(items) else f"{settings.drawn:,} drawn",
        "epochs": len(model.history),
        "minutes_an_epoch": round(minutes, 3),
        "validation_s": round(seconds, 1),
        "peak_mib": round(peak),
        "asked": int(ranking["events"]),
        "model": {name: round(ranking[name], 5) for name in FIGURES},
        "popularity": {name: round(simple[name], 5) for name in FIGURES},
        "shipped": shipped(model, division) if job.shipped else None,
    }


def divided(job: Job, hashed: int) -> Split:
    """A real log by its protocol, a made-up one leave-one-out."""
    if job.data:
        return Split.by(job.data, datasets.load(job.data, path=job.path))
    made = walks(job.items, job.users, LENGTH)
    names = tuple(f"item-{item}" for item in range(job.items))
    return Split(
        vocabulary=Vocabulary(items=names, actions=("click",), hashed=hashed),
        training=made.without_last(2),
        validation=Held.last(made.without_last(1)),
        test=Held.last(made),
    )


def shipped(model: TrainedModel, division: Split) -> dict[str, float]:
    """What the model weighs as a bundle, how long loading it takes, and ten items for a user."""
    items = model.vocabulary.items
    counts = division.training.counts(len(items)).astype(np.float64)
    folder = Path(tempfile.mkdtemp(prefix="echorank-catalogue-"))
    try:
        write_bundle(folder / "bundle", model.network, items, counts, {})
        weight = sum(file.stat().st_size for file in (folder / "bundle").iterdir())
        began = time.perf_counter()
        bundle = load_bundle(folder / "bundle", verify=True)
        load_s = time.perf_counter() - began
    finally:
        shutil.rmtree(folder)
    rows = zeros(bundle.config, 1)
    last = division.test.histories
    count = int(last.starts[1])
    users = np.zeros(count, dtype=np.uint64)
    no_action = np.zeros(count, dtype=np.uint8)
    offsets = np.arange(count)
    bundle.fold(rows, offsets * 0, users, last.items[:count], no_action, offsets, offsets)
    calls = []
    for _ in range(CALLS):
        began = time.perf_counter()
        bundle.recommend(rows[0], 10, False, count)
        calls.append(time.perf_counter() - began)
    return {
        "bundle_mib": round(weight / MEBIBYTE, 1),
        "load_s": round(load_s, 3),
        "recommend_ms": round(1000 * float(np.median(calls)), 2),
    }


def markdown(rows: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """catalogues.md."""
    heads = (*HEADS, *(f"{who} {name}" for who in ("model", "popularity") for name in FIGURES))
    cells = [
        (
            row["log"],
            f"{row['items']:,}",
            f"{row['clicks']:,}",
            row["softmax"],
            f"{row['minutes_an_epoch']:.2f}",
            row["validation_s"],
            f"{row['peak_mib']:,}",
            *(f"{row[who][name]:.4f}" for who in ("model", "popularity") for name in FIGURES),
        )
        for row in rows
    ]
    bundles = [
        (f"{row['items']:,}", *(f"{value:,}" for value in row["shipped"].values()))
        for row in rows
        if row["shipped"]
    ]
    return (
        "# Large catalogues\n\nSampled beside full softmax: time of one thread and peak memory of "
        "a training, and how well the lists of `Recommend`, from shipped\nstates, rank at most "
        f"{ASKED_MAX:,} test clicks (fewer of a large catalogue), beside popularity. How "
        "the made-up logs come about: `bench/accuracy/walks.py`.\n\n"
        f"{report.table(heads, cells)}\n\n"
        "The sampled models as bundles; a call asks for ten items:\n\n"
        f"{report.table(('items', 'bundle MiB', 'loading s', 'Recommend p50 ms'), bundles)}\n\n"
        f"{report.footer(dict(about))}\n"
    )


def catalogues(
    data: Annotated[
        list[str] | None,
        typer.Option(help="A real log beside the made-up ones: NAME or NAME=PATH; repeatable."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of each training on real logs.")] = 4,
    quick: Annotated[bool, typer.Option(help="Hundreds of items; below out/bench/.")] = False,
    out: report.Out = None,
) -> None:
    """Minutes, memory and accuracy at 10,000, 100,000 and 1,000,000 items, full and sampled.

    Writes bench/results/catalogues.md and raw/catalogues.json.
    """
    place = report.folder_for(quick, out)
    rows = []
    spawned = multiprocessing.get_context("spawn")
    for job in jobs(quick, data or (), epochs):
        with ProcessPoolExecutor(1, mp_context=spawned) as process:
            row = process.submit(measured, job).result()
        rows.append(row)
        print(
            f"{row['log']}, {row['items']:,} items, {row['softmax']}: "
            f"{row['minutes_an_epoch']:.2f} minutes an epoch, {row['peak_mib']:,} MiB, NDCG@10 "
            f"{row['model']['ndcg10']:.4f}",
            flush=True,
        )
    about = report.provenance(quick)
    report.write("catalogues", {"rows": rows, **about}, markdown(rows, about), place)

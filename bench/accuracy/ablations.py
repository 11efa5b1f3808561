"""What each element of the streaming model is worth:
one change at a time from what ships, trained anew.

The last TESTED events of each user are the test, not the last alone: on ML-1M one event a user
leaves a standard error of .006 in HR@10, more than most elements are worth. So figures here are not
those of accuracy.md.

A row is a seed of a change; the table shows the mean difference to the unchanged model of the same
seeds, which takes away most of what a seed does to all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from bench import report
from bench.accuracy import next_item, rows
from bench.accuracy.baselines.next_item.baseline import ReferenceTeacher
from bench.accuracy.recipes import recipe_of
from bench.accuracy.split import Split
from bench.accuracy.variants import VARIANTS, Variant
from model.config import ModelConfig
from training.data import datasets
from training.fit.allocation import prepare_process
from training.fit.distill import StreamingTeacher, Teacher
from training.fit.train import TrainConfig, train

SHIPPED = "as shipped"
NOTHING: Mapping[str, Any] = MappingProxyType({})
TESTED = 8
OTHER_SEED = 1_000  # from a student's seed to its teacher's
CHANGES: Mapping[str, Mapping[str, Any]] = {
    SHIPPED: {},
    "no spectral filter": {"spectral_filter": False},
    "no window attention": {"window_attention": False},
    "neither of the two": {"spectral_filter": False, "window_attention": False},
    "no GLU before the state space": {"input_glu": False},
    "N = 4": {"state_size": 4},
    "N = 16": {"state_size": 16},
    "expand 2": {"expand": 2},
    "four window heads": {"window_heads": 4},
    "ring of 16": {"ring_length": 16},
    "ring of 64": {"ring_length": 64},
    "membership of 33 events": {"tail_length": 1},
    "membership of 96 events": {"tail_length": 64},
    "membership of 1,056 events": {"tail_length": 1024},
    "width 32": {"width": 32, "expand": 4},
    "width 64": {"width": 64, "expand": 2},
    "width 128": {"width": 128, "expand": 1},
    "no click loss": {"click_weight": 0.0},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.4": {"dropout": 0.4},
    "label smoothing": {"smoothing": 0.1},
    "no label smoothing": {"smoothing": 0.0},
    "no vectors from transitions": {"transitions": 0.0},
    **{name: {} for name in VARIANTS},
}
TABLE = report.RAW / "ablations.json"
STATES = ("from states: hr10", "ndcg10")
FIGURES = ("hr10", "ndcg10", "hr10_excluded", "ndcg10_excluded")


def changes_nothing(data: str, name: str, base: Mapping[str, Any] = NOTHING) -> bool:
    """Whether a change sets what the data set's recipe has anyway,
    as a width of 64 where logs are short.

    Raises:
        ValueError: `base` or the change has a setting that is unknown or out of range.
    """
    recipe = {**recipe_of(data, "echorank"), **base}
    change = CHANGES[name]
    shapes = [
        next_item.configured({**recipe, **more}, ModelConfig, TrainConfig) for more in ({}, change)
    ]
    return bool(change) and shapes[0] == shapes[1]


def measure(
    split: Split,
    data: str,
    name: str,
    seed: int,
    table: Path,
    base: Mapping[str, Any] = NOTHING,
) -> dict[str, Any]:
    """Train one changed model, rank as trained and, where there is a fold for it,
    with its states; add the row.

    `base` goes over the recipe of all, and stands beside the data set's name.
    """
    settings = {**recipe_of(data, "echorank"), **base, "seed": seed, **CHANGES[name]}
    variant = VARIANTS.get(name, Variant())
    teachers = [teacher_of(split, data, variant.teacher, seed)] if variant.teacher else []
    exact, *served = next_item.streaming(
        split, settings, data=data, teachers=teachers, variant=variant, shelves=()
    )
    figures, from_states = (
        result.found.figures for result in (exact, served[0] if served else exact)
    )
    row = rows.row(
        "next-item",
        titled(data, base),
        name,
        seed,
        {figure: figures[figure] for figure in rows.FIGURES["next-item"]},
        train_minutes=exact.minutes,
        state_bytes=served[0].state_bytes if served else None,
        changed=CHANGES[name],
        from_states={figure: round(from_states[figure], 5) for figure in FIGURES}
        if served
        else None,
        **exact.more,
    )
    rows.add(row, table)
    return row


def titled(data: str, base: Mapping[str, Any]) -> str:
    """A data set's name, and what was not as in its recipe for all changes: `ml-1m (epochs=5)`."""
    return (
        f"{data} ({', '.join(f'{name}={value}' for name, value in base.items())})" if base else data
    )


def teacher_of(split: Split, data: str, name: str, seed: int) -> Teacher:
    """A teacher trained by its own recipe from another seed;
    the bidirectional one has the membership bias too.
    """
    values = {**recipe_of(data, name), "seed": seed + OTHER_SEED}
    if name != "echorank":
        model, _ = next_item.fit_reference(split, name, values, membership=True)
        return ReferenceTeacher(model, values["length"])
    shape, settings = next_item.configured(values, ModelConfig, TrainConfig)
    trained = train(
        shape, settings, split.vocabulary, split.training, split.validation, show_progress=False
    )
    return StreamingTeacher(trained.network, split.vocabulary.items)


def markdown(found: Sequence[rows.Row]) -> str:
    """ablations.md: a table for each data set, the largest loss of NDCG@10 first."""
    parts = [
        "# What each element is worth\n\nOne change at a time from the shipped configuration, "
        "trained anew and ranked by the network as trained (plain\nprotocol) on the last "
        f"{TESTED} events of each user, each from all before it; the last columns rank from its "
        "compressed\nstates, where the product has a fold for it. Differences are to the "
        "unchanged model of the same seeds: mean, and standard\ndeviation over seeds. A "
        "difference within twice that is not one. Minutes do not count the training of a "
        "teacher.\n"
    ]
    for data in sorted({row["dataset"] for row in found}):
        lines = sorted(
            _lines([row for row in found if row["dataset"] == data]), key=lambda line: line[-1]
        )
        heads = (
            "change",
            "seeds",
            *FIGURES,
            "Δ HR@10",
            "Δ NDCG@10",
            *STATES,
            "bytes a user",
            "minutes",
        )
        parts.append(f"## {data}\n\n{report.table(heads, [line[:-1] for line in lines])}\n")
    commands = sorted({f"- `{row['command']}` at {row['commit']}, {row['date']}" for row in found})
    return "\n".join([*parts, "Commands:\n", *commands, ""])


def _lines(found: Sequence[rows.Row]) -> Iterator[tuple[Any, ...]]:
    """A change's line, and what orders it."""
    base = {row["seed"]: row for row in found if row["model"] == SHIPPED}
    for name in CHANGES:
        runs = [row for row in found if row["model"] == name]
        if not runs:
            continue
        losses = {
            figure: [row[figure] - base[row["seed"]][figure] for row in runs if row["seed"] in base]
            for figure in ("hr10", "ndcg10")
        }
        yield (
            name,
            len(runs),
            *(f"{statistics.mean(row[figure] for row in runs):.4f}" for figure in FIGURES),
            *(
                "" if name == SHIPPED else _difference(losses[figure])
                for figure in ("hr10", "ndcg10")
            ),
            *(_mean_of_states(runs, figure) for figure in ("hr10", "ndcg10")),
            "-" if runs[0]["state_bytes"] is None else f"{runs[0]['state_bytes']:,}",
            f"{statistics.mean(row['train_minutes'] for row in runs):.1f}",
            statistics.mean(losses["ndcg10"] or [0.0]),
        )


def _mean_of_states(runs: Sequence[rows.Row], figure: str) -> str:
    known = [row["from_states"][figure] for row in runs if row["from_states"]]
    return f"{statistics.mean(known):.4f}" if known else "-"


def _difference(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.4f}{spread}"


def ablations(
    data: Annotated[str, typer.Option(help="Data set by name.")] = "ml-100k",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each change.", min=1)] = 3,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, over the recipe of every change; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(CHANGES)}; repeatable.")
    ] = None,
    table: Annotated[
        Path,
        typer.Option(help="The file of rows; ablations.md comes beside it, or above raw/."),
    ] = TABLE,
) -> None:
    """What each element of the model is worth, one change at a time.

    Runs that the table has already are left out, so a run that was stopped goes on.
    """
    if unknown := sorted(set(only or ()) - CHANGES.keys()):
        raise typer.BadParameter(
            f"--only {', '.join(unknown)} is unknown; known are {', '.join(CHANGES)}"
        )
    try:
        base = next_item.parse(changes or [])
        chosen = [name for name in only or CHANGES if not changes_nothing(data, name, base)]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    report.refuse_changes(table)
    prepare_process()
    split = Split.of(datasets.load(data, path=path), TESTED)
    done = {(row["dataset"], row["model"], row["seed"]) for row in rows.read(table)}
    for seed in range(seeds):
        for name in chosen:
            if (titled(data, base), name, seed) in done:
                continue
            typer.echo(f"{name}, seed {seed}")
            row = measure(split, data, name, seed, table, base)
            typer.echo(f"{name}, seed {seed}: HR@10 {row['hr10']:.4f}  NDCG@10 {row['ndcg10']:.4f}")
            written = report.kept(table)
            report.page_of(written).write_text(markdown(rows.read(written)))

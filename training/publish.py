"""From a trained model to a bundle that a shard can load: calibration, metrics, writing, verification."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.bundle import Bundle, load_bundle, write_bundle
from training import calibrate
from training.checkpoint import Checkpoint
from training.evaluate import Clicks, NetworkRanker, clicks, rank
from training.sequences import Held, Histories
from training.targets import NegativeSampler
from training.train import TrainedModel

NEGATIVES = 99  # unseen items beside each held-out click, drawn uniformly
EVENTS_MAX = 2000  # about how many held-out clicks are looked at


@dataclass(frozen=True, kw_only=True)
class Published:
    """A bundle on disk that was loaded once and reproduced its golden scores."""

    path: Path
    version: str
    bundle: Bundle


def assess(model: TrainedModel, training: Histories, held: Held, *, data_set: str, date: str) -> Checkpoint:
    """Calibrate on held-out events and gather what a bundle says about itself.

    Click metrics come from other users than those that the calibration was fitted on. `date` is given by the
    caller, so that equal trainings give equal bytes.
    """
    items = len(model.vocabulary.items)
    sampler = NegativeSampler(held.histories, items, popular=0.0, seen=0.0)
    share = EVENTS_MAX / max(1, int(held.tails.sum()))
    asked = clicks(model.network, held, sampler=sampler, negatives=NEGATIVES, share=share, seed=model.settings.seed)
    fitting, checking = halves(asked)
    calibration = calibrate.fit(fitting.labels, fitting.logits)
    ranking = rank(NetworkRanker(model.network), held, items).summary()
    return Checkpoint(
        network=model.network,
        items=model.vocabulary.items,
        counts=training.counts(items),
        calibration=calibration,
        metadata={
            "data_set": data_set,
            "date": date,
            "seed": model.settings.seed,
            "settings": asdict(model.settings),
            "history": [asdict(line) for line in model.history],
            "validation": ranking | checking.summary(calibration),
            "calibrated_on": f"the clicked item among {NEGATIVES} unseen ones, drawn uniformly",
        },
    )


def publish(checkpoint: Checkpoint, out: Path) -> Published:
    """Write the bundle to `out`, then load it again, which verifies digest and golden scores."""
    version = write_bundle(
        out,
        checkpoint.network,
        checkpoint.items,
        checkpoint.counts.astype(float),
        checkpoint.metadata,
        np.array([checkpoint.calibration] * 3),
    )
    return Published(path=out, version=version, bundle=load_bundle(out, verify=True))


def halves(asked: Clicks) -> tuple[Clicks, Clicks]:
    """The impressions of users with even and with odd numbers; all of them twice if one half lacks a class."""
    even = asked.users % 2 == 0
    first, second = (
        Clicks(users=asked.users[part], labels=asked.labels[part], logits=asked.logits[part]) for part in (even, ~even)
    )
    usable = all(part.labels.any() and not part.labels.all() for part in (first, second))
    return (first, second) if usable else (asked, asked)

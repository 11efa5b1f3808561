"""From a trained model to a bundle that a shard can load."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from model.bundle import Bundle, load_bundle, write_bundle
from training import calibrate
from training.evaluate import Clicks, NetworkRanker, clicks, rank
from training.sequences import Held, Histories
from training.targets import NegativeSampler
from training.train import TrainedModel

NEGATIVES = 99  # unseen items beside each held-out click, drawn uniformly
EVENTS_MAX = 2000  # about how many held-out clicks are looked at


@dataclass(frozen=True, kw_only=True)
class Published:
    """A bundle on disk, loaded once and found to reproduce its golden scores."""

    path: Path
    version: str
    bundle: Bundle
    calibration: tuple[float, float]
    metrics: dict[str, float]  # next item and calibrated clicks on the held-out events


def publish(
    model: TrainedModel,
    training: Histories,
    held: Held,
    out: Path,
    *,
    data_set: str,
    date: str,
) -> Published:
    """Calibrate on held-out events, write the bundle to `out`, and load it to verify its golden scores.

    Click metrics come from other users than those that the calibration was fitted on. `date` is the day that the
    bundle names as its own, given by the caller so that equal trainings give equal bytes.
    """
    items = len(model.vocabulary.items)
    metrics = rank(NetworkRanker(model.network), held, items).summary()
    sampler = NegativeSampler(held.histories, items, popular=0.0, seen=0.0)
    share = EVENTS_MAX / max(1, int(held.tails.sum()))
    asked = clicks(model.network, held, sampler=sampler, negatives=NEGATIVES, share=share, seed=model.settings.seed)
    fitting, checking = halves(asked)
    calibration = calibrate.fit(fitting.labels, fitting.logits)
    metrics |= checking.summary(calibration)
    version = write_bundle(
        out,
        model.network,
        model.vocabulary.items,
        training.counts(items),
        {
            "data_set": data_set,
            "date": date,
            "seed": model.settings.seed,
            "settings": asdict(model.settings),
            "metrics": metrics,
            "calibrated_on": f"the clicked item among {NEGATIVES} unseen ones, drawn uniformly",
        },
        calibration,
    )
    bundle = load_bundle(out, verify=True)
    return Published(path=out, version=version, bundle=bundle, calibration=calibration, metrics=metrics)


def halves(asked: Clicks) -> tuple[Clicks, Clicks]:
    """The impressions of users with even and with odd numbers; all of them twice if one half lacks a class."""
    even = asked.users % 2 == 0
    parts = tuple(
        Clicks(users=asked.users[part], labels=asked.labels[part], logits=asked.logits[part]) for part in (even, ~even)
    )
    usable = all(part.labels.any() and not part.labels.all() for part in parts)
    return (parts[0], parts[1]) if usable else (asked, asked)

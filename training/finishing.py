"""How long what follows a training will take: calibration, the order of recommendations, the test."""

from __future__ import annotations

import copy
import time

from torch import nn

from model.network import Network
from training.order import CLICKS_MAX
from training.publish import EVENTS_MAX, unpublished
from training.sequences import Held, Histories
from training.served import rank_targets

PROBED = 6  # clicks that are asked about to learn how long one takes


def finishing_s(
    network: nn.Module,
    validation_s: float,
    *,
    items: tuple[str, ...],
    training: Histories,
    held: Held,
    asked_max: int,
) -> float:
    """About how many seconds follow the last epoch, if a validation takes `validation_s`.

    `assess` validates once more, calibrates on EVENTS_MAX clicks and asks for CLICKS_MAX in both orders; then up to
    `asked_max` clicks are the test. Each of these costs about what one of the test does, which is tried on a few.
    """
    assert isinstance(network, Network)
    bundle = unpublished(copy.deepcopy(network).cpu().eval(), items, training.counts(len(items)))
    targets = held.targets(len(items))
    sample = targets[:: -(-len(targets) // PROBED)]
    rank_targets(bundle, held.histories, sample[:1])  # loads what the others only run
    begun = time.monotonic()
    rank_targets(bundle, held.histories, sample)
    each_s = (time.monotonic() - begun) / len(sample)
    asked = sum(min(len(targets), most) for most in (EVENTS_MAX, CLICKS_MAX, CLICKS_MAX, asked_max))
    return validation_s + asked * each_s

"""How long what follows a training will take: calibration,
what answers are made of, the test.
"""

from __future__ import annotations

import copy
import time

from torch import nn

from model.network.network import Network
from training.data.sequences import Held, Histories
from training.fit.schedule import STEPS_SHARE_MIN
from training.measure.order import CLICKS_MAX, KINDS, SHELVES_MAX
from training.measure.served import clicks_of, rank_targets
from training.publish import EVENTS_MAX, unpublished

PROBED = 6  # clicks that are asked about to learn how long one takes
# clicks of the test; fewer where `minutes` are short
ASKED_MAX = 10_000
ASKED_MIN = 500
MINUTE_S = 60


class Finishing:
    """What follows the last epoch of a training: `assess`, then a test on `asked_max` clicks.

    Called with a network of this training, it says how many seconds that takes, and lowers
    `asked_max` until all fits into the part of `minutes` that is not kept for steps, as far as that
    can be.
    """

    def __init__(
        self, items: tuple[str, ...], training: Histories, held: Held, minutes: float | None
    ) -> None:
        self.asked_max = clicks_of(len(items), ASKED_MAX)
        self._items = items
        self._training = training
        self._held = held
        self._minutes = minutes

    def __call__(self, network: nn.Module, validation_s: float) -> float:
        """About how many seconds, if a validation takes `validation_s`.

        `assess` validates once more, calibrates on EVENTS_MAX clicks, asks for CLICKS_MAX in both
        orders and for SHELVES_MAX among each kind of candidates. Each costs about what one of the
        test does, which is tried on a few.
        """
        assert isinstance(network, Network)
        bundle = unpublished(
            copy.deepcopy(network).cpu().eval(),
            self._items,
            self._training.counts(len(self._items)),
        )
        targets = self._held.targets(len(self._items))
        sample = targets[:: -(-len(targets) // PROBED)]
        rank_targets(bundle, self._held.histories, sample[:1])  # loads what the others only run
        begun = time.monotonic()
        rank_targets(bundle, self._held.histories, sample)
        each_s = (time.monotonic() - begun) / len(sample)
        fixed_s = validation_s + each_s * sum(
            min(len(targets), clicks_of(len(self._items), most))
            for most in (EVENTS_MAX, *[CLICKS_MAX] * 2, *[SHELVES_MAX] * len(KINDS))
        )
        if self._minutes is not None:
            left_s = MINUTE_S * self._minutes * (1 - STEPS_SHARE_MIN) - validation_s - fixed_s
            self.asked_max = int(min(max(left_s / each_s, ASKED_MIN), self.asked_max))
        return fixed_s + each_s * min(len(targets), self.asked_max)

"""Data that kill a worker: in a module of its own, so that Ray's processes can import it."""

from __future__ import annotations

import os

import torch.distributed as dist

from model.arrays import Longs
from training.data.sequences import Histories


class Deadly(Histories):
    """Histories that end the second worker's process, the hard way,
    as soon as it starts to learn from them.
    """

    def counts(self, items: int) -> Longs:
        """See `Histories`."""
        if dist.is_initialized() and dist.get_rank() == 1:
            os._exit(1)
        return super().counts(items)

"""Small networks with lively weights, and histories to run through them."""

from __future__ import annotations

import numpy as np
import torch

from model.arrays import Bytes
from model.config import ModelConfig
from model.kernels.fold import fold_events
from model.network.embedding import Sequences
from model.network.network import Network
from model.params import FoldParams, sizes_of
from model.state import layout, views, zeros

ITEMS = 90
VARIANTS = {
    "default": {},
    "int8 recurrence": {"ssm_bits": 8},
    "plain": {"window_attention": False, "input_glu": False},
    "no filter": {"spectral_filter": False},
    "small": {
        "ring_length": 8,
        "tail_length": 16,
        "conv_width": 3,
        "slots": 8,
        "width": 32,
        "expand": 2,
        "heads": 4,
    },
}


def network(config: ModelConfig, seed: int = 0, items: int = ITEMS) -> Network:
    """A network whose every parameter differs from its starting value,
    so that no term hides behind a zero.
    """
    torch.manual_seed(seed)
    made = Network(config, items).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def histories(users: int, length: int, config: ModelConfig, seed: int = 0) -> Sequences:
    """Random histories (B, L) with gaps from seconds to days and some ties."""
    random = torch.Generator().manual_seed(seed)
    gaps = torch.exp(torch.rand(users, length, generator=random) * 20).long() * torch.randint(
        0, 3, (users, length), generator=random
    )
    return Sequences(
        torch.randint(0, ITEMS + config.hashed_items, (users, length), generator=random),
        torch.randint(0, len(config.actions), (users, length), generator=random),
        1_700_000_000_000 + gaps.cumsum(dim=1),
        torch.ones(users, length, dtype=torch.bool),
    )


def fold_all(
    params: FoldParams, config: ModelConfig, batch: Sequences, rows: Bytes | None = None
) -> Bytes:
    """Fold whole histories event by event, users interleaved; returns the rows (B, row_bytes)."""
    users, length = batch.items.shape
    rows = zeros(config, users) if rows is None else rows
    index = np.tile(np.arange(users), length)
    fold_events(
        params,
        sizes_of(config),
        layout(config),
        views(rows),
        index,
        index.astype(np.uint64),
        batch.items.mT.flatten().numpy(),
        batch.actions.mT.flatten().numpy().astype(np.uint8),
        batch.times_ms.mT.flatten().numpy(),
        np.arange(users * length),
    )
    return rows

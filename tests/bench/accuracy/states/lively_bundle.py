"""A small untrained model whose states differ much."""

from __future__ import annotations

import numpy as np

from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.absorb import absorb, absorb_head
from tests.model.models import ITEMS, network

SMALL = {"width": 32, "expand": 2, "heads": 4, "ring_length": 8, "tail_length": 16, "slots": 4}


def bundle(**changed: object) -> Bundle:
    """A small untrained model with lively weights."""
    config = ModelConfig(**(SMALL | changed))  # type: ignore[arg-type]
    made = network(config)
    score = absorb_head(made, np.ones(ITEMS), np.array([[1.0, 0.0]] * 3))
    return Bundle(
        version="v",
        config=config,
        items=tuple(map(str, range(ITEMS))),
        fold=absorb(made),
        score=score,
    )

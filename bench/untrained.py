"""A catalogue and a model without training: benchmarks measure speed,
which training does not change.
"""

from __future__ import annotations

from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle


def catalogue(items: int) -> tuple[str, ...]:
    """Item ids, the most popular first."""
    return tuple(f"item-{n}" for n in range(items))


def bundle(items: int, path: str = "") -> Bundle:
    """The same untrained bundle wherever it is asked for;
    `path` makes it stand in for `load_bundle`.
    """
    del path
    return random_bundle(ModelConfig(), catalogue(items), seed=1)

"""A network as a bundle: a trained one, or untrained for tests and benchmarks of speed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from model.arrays import Doubles
from model.bundle import files as bundle_files
from model.bundle import golden
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.levels import best_of
from model.network.absorb import absorb, absorb_head
from model.network.network import Network
from model.order import order_of


def write_bundle(
    path: str | Path,
    network: Network,
    items: tuple[str, ...] | list[str],
    counts: Doubles,
    metadata: dict[str, Any],
    calibration: Doubles | None = None,
    recommend: Mapping[str, Any] | None = None,
    levels: Mapping[str, Any] | None = None,
    popular: Doubles | None = None,
) -> str:
    """Publish a trained `model.network.network.Network` as the directory
    `path` and return its version.

    Shapes: counts (V,) clicks an item; calibration (3, 2), slope and intercept of FULL, SEQUENCE
    and PRIOR. `recommend` and `levels` are what `training.measure.order.measured` found; without
    them, the next-item logit sorts recommendations and FULL is the best level.
    `popular` (V,) are clicks an item too, those that users without any are answered by; without
    it, `counts`.
    """
    slopes = np.array([[1.0, 0.0]] * 3) if calibration is None else calibration
    fold = absorb(network)
    answering = np.asarray(counts if popular is None else popular, dtype=np.float64)
    score = absorb_head(network, answering, slopes)
    bundle = Bundle(
        version="unpublished",
        config=network.config,
        items=tuple(items),
        fold=fold,
        score=score,
        best=best_of(levels or {}),
    )
    arrays = {f"fold.{name}": value for name, value in fold._asdict().items()}
    arrays |= {f"score.{name}": value for name, value in score._asdict().items()}
    examples = golden.make(bundle)
    record = {"order": order_of(recommend or {}).value, **(recommend or {})}
    return bundle_files.write(
        Path(path), network.config, tuple(items), counts, arrays, examples, metadata, record, levels
    )


def random_bundle(config: ModelConfig, items: tuple[str, ...], seed: int = 0) -> Bundle:
    """A bundle with untrained weights, for tests and benchmarks of everything but accuracy."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(config, len(items)).eval()
    counts = 1.0 / np.arange(1, len(items) + 1)
    score = absorb_head(network, counts, np.array([[1.0, 0.0]] * 3))
    name = json.dumps([config.to_json(), items, seed]).encode()
    version = xxhash.xxh64_hexdigest(name)
    bundle = Bundle(version=version, config=config, items=items, fold=absorb(network), score=score)
    golden.make(bundle)  # compiles, as loading one does: no first answer waits for that
    return bundle

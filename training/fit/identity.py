"""What a training is of: what must be the same where one goes on in the place of another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import xxhash

from model.config import ModelConfig
from training.data.sequences import Held, Histories
from training.fit.distill import Opinion
from training.fit.schedule import FitConfig

MAY_CHANGE = ("learning_rate", "clip", "patience", "minutes_max", "device")


def identity(
    shape: ModelConfig,
    settings: FitConfig,
    training: Histories,
    held: Held,
    opinions: Sequence[Opinion],
) -> dict[str, str]:
    """Each part as a digest or as JSON; `shape` has the log's actions."""
    log = xxhash.xxh3_128()
    taught = xxhash.xxh3_128()
    for histories in (training, held.histories):
        for column in (histories.items, histories.actions, histories.times_ms, histories.starts):
            log.update(np.ascontiguousarray(column).tobytes())
        log.update(json.dumps(histories.users).encode())
    log.update(np.ascontiguousarray(held.tails).tobytes())
    for opinion in opinions:
        for tensor in (opinion.encodings, opinion.table, opinion.bias):
            taught.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    recipe = {
        name: value
        for name, value in dataclasses.asdict(settings).items()
        if name not in MAY_CHANGE
    }
    return {
        "log": log.hexdigest(),
        "shape": shape.to_json(),
        "seed or recipe": json.dumps(recipe, sort_keys=True),
        "set of teachers": taught.hexdigest(),
    }

"""A trained model and the histories that it is asked about,
as every study of served states needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from model.bundle.bundle import Bundle
from training.data import datasets
from training.data.clicklog import ClickLog
from training.data.protocols import ITEM_EVENTS_MIN
from training.data.sequences import Histories, Vocabulary
from training.errors import DatasetError
from training.fit.allocation import prepare_process
from training.fit.checkpoint import Checkpoint
from training.publish import shipped


class ServedModel(NamedTuple):
    """A model as it serves, and whole histories in its own item rows."""

    bundle: Bundle
    checkpoint: Checkpoint
    histories: Histories


def load(checkpoint: Path, data: str, path: Path | None = None) -> ServedModel:
    """Read a trained model and the data set that it was trained on,
    with that training's item filter.

    Raises:
        DatasetError: the model was trained on another catalogue, or one of the two cannot be read.
    """
    prepare_process()
    return pair(Checkpoint.load(checkpoint), datasets.load(data, path=path), data)


def pair(checkpoint: Checkpoint, log: ClickLog, data: str) -> ServedModel:
    """See `load`."""
    log = log.with_frequent_items(ITEM_EVENTS_MIN)
    vocabulary = Vocabulary.of(log, hashed=checkpoint.network.config.hashed_items)
    if vocabulary.items != checkpoint.items:
        raise DatasetError(
            f"the model knows {len(checkpoint.items)} items and {data} has "
            f"{len(vocabulary.items)} others; it was trained on "
            f"{checkpoint.metadata.get('data_set')!r}: name that with --data"
        )
    return ServedModel(shipped(checkpoint), checkpoint, Histories.of(log, vocabulary))

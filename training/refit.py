"""The weights that ship: the same recipe once more on the whole log, once the epochs are known.

What chose their number, the newest tenth of the log, is what a model should know best. Nothing is
left to judge the second training by, so it runs its schedule to the end, and what is said of the
model was measured on the first.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from model.config import ModelConfig
from model.network.network import Network
from model.popularity import RECORD
from training.data.remarks import to_stderr
from training.data.sequences import Held, Histories
from training.fit.checkpoint import Checkpoint
from training.fit.distill import Teacher
from training.fit.forecast import Finishing
from training.fit.keeper import FileKeeper
from training.fit.train import StreamingTask, TrainedModel, train
from training.measure.evaluate import NetworkRanker, affordable, rank
from training.recipe.recent import recent
from training.workers import Workers

SHARE = 0.5  # of the minutes that a training has where a refit follows it
MEASURED_ON = "a model of the same recipe without the newest tenth"


class WholeTask(StreamingTask):
    """The same losses where no event is held out."""

    def validate(self, network: nn.Module, workers: Workers) -> Mapping[str, float]:  # noqa: ARG002
        """Nothing to measure."""
        return {}


def refit(
    model: TrainedModel,
    shape: ModelConfig,
    held: Held,
    *,
    workers: int,
    show_progress: bool,
    teachers: Sequence[Teacher],
    keeper: FileKeeper | None,
    finishing: Finishing,
) -> Network | None:
    """A network trained on all histories of `held`, what is held out of them included, with the
    recipe and the seed of `model`, for as many epochs as gave its best (of equally good ones, the
    most).

    None, and a remark, where it ranks what was held out worse than `model`, which never saw it: too
    few minutes, say. Minutes go on counting from where those of `model` began.

    Raises:
        TrainingError: the training diverged or was stopped.
    """
    best = model.best.ndcg10
    last = max(line.epoch for line in model.history if line.ndcg10 >= best)
    settings = dataclasses.replace(model.settings, epochs=last + 1)
    from_parts = (shape, settings, model.vocabulary, held.histories, held)
    more: dict[str, Any] = {
        "show_progress": show_progress,
        "teachers": teachers,
        "task_type": WholeTask,
        "phase": "refit",
        "strength": model.strength,
    }
    if workers > 1:
        from training.distributed import train_together  # noqa: PLC0415 - one worker needs no Ray

        network = train_together(workers, *from_parts, share=SHARE, **more).network
    else:
        network = train(
            *from_parts,
            keeper=None if keeper is None else keeper.following(),
            begun=time.monotonic() - model.seconds,
            finishing=finishing,
            **more,
        ).network
    asked = affordable(held, network.items)
    ranking = rank(NetworkRanker(network), asked, network.items, context=settings.context)
    if (ndcg10 := ranking.summary()["ndcg10"]) >= best:
        return network
    to_stderr(
        f"the refit ranks the newest clicks worse (NDCG@10 {ndcg10:.4f}) than the model that never "
        f"saw them ({best:.4f}), so that one is kept; more --minutes may help"
    )
    return None


def refitted(checkpoint: Checkpoint, network: Network, whole: Histories) -> Checkpoint:
    """The checkpoint of a held-out model, with the weights and counts of the refit; it says so."""
    items = len(checkpoint.items)
    now = recent(whole, items)
    return dataclasses.replace(
        checkpoint,
        network=network,
        counts=whole.counts(items),
        popular=now.counts,
        metadata={
            **checkpoint.metadata,
            RECORD: checkpoint.metadata[RECORD] | now.record,
            "trained_until_ms": int(whole.times_ms.max()),
            "measured_on": MEASURED_ON,
        },
    )

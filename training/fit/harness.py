"""One way to fit any network: early stopping by validation NDCG@10,
kept on disk as it goes. Its steps: `loop`.

The streaming model and every reference model go through it, so a comparison compares models and not
recipes. What differs between them is a `Task`: the network, what an epoch consists of, the losses
of a batch, and the validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from training.errors import DivergedError, TrainingError
from training.fit.forecast import Costs
from training.fit.keeper import Keeper, Nowhere
from training.fit.loop import Loop, Task
from training.fit.progress import Line, TrainingProgress
from training.fit.schedule import FitConfig, Schedule
from training.workers import Alone, Workers

__all__ = ["FitConfig", "Fitted", "Line", "Schedule", "Task", "fit", "pick_device"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The history of a training whose network now holds the averaged weights of the best epoch."""

    history: tuple[Line, ...]
    best: Line
    seconds: float


def fit(
    network: nn.Module,
    task: Task,
    settings: FitConfig,
    random: np.random.Generator,
    *,
    show_progress: bool = True,
    on_epoch: Callable[[Line], None] | None = None,
    workers: Workers | None = None,
    keeper: Keeper | None = None,
    costs: Costs | None = None,
    phase: str = "training",
) -> Fitted:
    """Fit `network`, which stands on its device;
    afterwards it has the best epoch's averaged weights, on the CPU.

    `on_epoch` hears of each epoch as it ends. Each of several `workers` calls this with equal
    networks and `random`. With a `keeper` the training is kept as it goes, and may go on where one
    stopped; `costs` tells what else takes time. What is shown calls it by its `phase`.

    Raises:
        DivergedError: losses or weights are no longer numbers.
        StoppedError: the keeper was asked to stop.
    """
    loop = Loop(network, task, settings, random, workers or Alone(), costs, phase)
    keeper = keeper or Nowhere()
    with TrainingProgress(shown=show_progress, phase=phase) as progress, keeper.listening():
        keeper.resume(loop)
        try:
            while not loop.over():
                loop.learn(progress, keeper)
                line = loop.judge()
                progress.epoch(line)
                if on_epoch is not None:
                    on_epoch(line)
                keeper.look(loop, now=loop.over())
        except DivergedError as error:
            raise DivergedError(f"{error}{keeper.kept_at()}") from None
    network.load_state_dict(loop.best_weights)
    network.cpu().eval()
    return Fitted(history=tuple(loop.history), best=loop.best(), seconds=loop.schedule.seconds())


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        TrainingError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros((), device=name).device
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"device {name!r} cannot be used: {error}; try --device auto or cpu"
        ) from error

"""One loop that fits any network: optimizer, schedule, averaged weights, early stopping by validation NDCG@10.

The streaming model and every reference model go through it, so a comparison compares models and not recipes. What
differs between them is a `Task`: the network, what an epoch consists of, the losses of a batch, and the validation.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from training.errors import TrainingError
from training.progress import TrainingProgress
from training.sequences import Windows
from training.workers import Alone, Workers


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The part of a recipe that holds for every network.

    Raises:
        ValueError: a setting is out of range.

    """

    epochs: int = 30
    minutes_max: float | None = None  # the schedule then shrinks to fit, which makes results depend on the machine
    patience: int = 5  # epochs without a better validation NDCG@10
    seed: int = 0
    length: int = 200  # L: a window holds at most L + 1 events
    tokens: int = 1024  # padded events a batch
    learning_rate: float = 6e-3
    warmup: float = 0.05  # share of the schedule
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 5.0  # largest gradient norm
    dropout: float = 0.2
    average_decay: float = 0.999  # of the exponential average of the weights; shorter at the start
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "patience", "length", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("dropout", "warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be in [0, 1)")
        if self.minutes_max is not None and self.minutes_max <= 0:
            raise ValueError(f"minutes_max = {self.minutes_max} must be above 0; leave it out for no limit")


class Task(Protocol):
    """What is fitted, and how it is judged."""

    @property
    def weights(self) -> Sequence[float]:
        """Weight of each loss that `losses` gives."""
        ...

    def epoch(self, random: np.random.Generator) -> Sequence[Windows]:
        """The batches of one epoch, in order."""
        ...

    def losses(self, windows: Windows, random: np.random.Generator) -> Tensor:
        """The losses of one batch, one number each, of the network that is being fitted."""
        ...

    def validate(self, network: nn.Module, workers: Workers) -> Mapping[str, float]:
        """Metrics of a copy of the network on held-out events, equal for all workers; `ndcg10` decides."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one epoch brought."""

    epoch: int
    losses: tuple[float, ...]  # means over the epoch's steps
    metrics: Mapping[str, float]  # validation, of the averaged weights
    seconds: float  # since the start
    done: float  # share of the training that is over


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
) -> Fitted:
    """Fit `network`, which stands on its device; afterwards it has the best epoch's averaged weights, on the CPU.

    `on_epoch` hears of each epoch as it ends. Each of several `workers` calls this with equal networks and `random`.
    """
    workers = workers or Alone()
    own_random = workers.own(random)
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    schedule = Schedule(settings)

    history: list[Line] = []
    with TrainingProgress(shown=show_progress) as progress:
        for epoch in range(settings.epochs):
            network.train()
            plan = workers.part(task.epoch(random))
            losses = []
            for step, windows in enumerate(plan):
                each = task.losses(windows, own_random)
                descend(network, averaged, optimizer, each, task.weights, settings, schedule, workers)
                losses.append(each.detach())
                schedule.advance((epoch + (step + 1) / len(plan)) / settings.epochs, workers)
                progress.step(schedule.done, losses[-1].sum().item())
                if schedule.done >= 1.0:
                    break

            means = tuple(workers.mean(torch.stack(losses).mean(dim=0)).tolist())
            metrics = task.validate(averaged, workers)
            seconds, done = schedule.seconds(), schedule.done
            history.append(Line(epoch=epoch, losses=means, metrics=metrics, seconds=seconds, done=done))
            progress.epoch(history[-1])
            if on_epoch is not None:
                on_epoch(history[-1])
            best = max(history, key=lambda line: line.metrics["ndcg10"])  # the first of equals
            if best is history[-1]:
                best_weights = copy.deepcopy(averaged.state_dict())
            if schedule.done >= 1.0 or epoch - best.epoch >= settings.patience:
                break

    network.load_state_dict(best_weights)
    network.cpu().eval()
    return Fitted(history=tuple(history), best=best, seconds=schedule.seconds())


def descend(
    network: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Tensor,
    weights: Sequence[float],
    settings: FitConfig,
    schedule: Schedule,
    workers: Workers,
) -> None:
    """One step down the weighted losses (n,) of all, then averaged <- decay * averaged + (1 - decay) * network."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(losses @ losses.new_tensor(weights))
    workers.average_gradients(network.parameters())
    clip_grad_norm_(network.parameters(), settings.clip)
    for part in optimizer.param_groups:
        part["lr"] = settings.learning_rate * schedule.rate()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - schedule.decay())


class Schedule:
    """How far a training is: by its epochs, or by the clock where `minutes_max` would run out first."""

    def __init__(self, settings: FitConfig) -> None:
        self.settings, self.steps, self.done = settings, 0, 0.0
        self.started = time.monotonic()

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def advance(self, done: float, workers: Workers | None = None) -> None:
        """One more step; by its epochs the training is `done`, 0 to 1. The first worker's clock holds for all."""
        limit = self.settings.minutes_max
        self.steps += 1
        if limit is not None:
            spent = self.seconds() if workers is None else workers.first(self.seconds)
            done = min(1.0, max(done, spent / (60 * limit)))
        self.done = done

    def rate(self) -> float:
        """Factor of the learning rate: linear warm-up from near 0 to 1, then half a cosine down to 0."""
        warmup = self.settings.warmup
        if self.done < warmup:
            return (self.done + 1e-3) / (warmup + 1e-3)
        return 0.5 * (1.0 + math.cos(math.pi * (self.done - warmup) / (1.0 - warmup)))

    def decay(self) -> float:
        """Of the weights' average: short at first, so that early weights are soon forgotten."""
        return min(self.settings.average_decay, (2.0 + self.steps) / (11.0 + self.steps))


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
        raise TrainingError(f"device {name!r} cannot be used: {error}; try --device auto or cpu") from error

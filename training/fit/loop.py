"""The steps that fit a network: optimizer, schedule, averaged weights;
all of it can be kept and taken up again.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.data.sequences import Windows
from training.errors import DivergedError
from training.fit.forecast import Costs, Forecast, sentence
from training.fit.keeper import Keeper
from training.fit.progress import Line, TrainingProgress
from training.fit.schedule import FitConfig, Schedule
from training.row_adam import RowAdam
from training.workers import Workers

NORM_MIN = 1e-6  # what torch adds before it divides by a norm


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
        """Metrics of a copy of the network on held-out events,
        equal for all workers; `ndcg10` decides. Nothing where nothing is held out.
        """
        ...


class Loop:
    """All that changes while a network is fitted, and how it does;
    see `training.fit.keeper.Keepable`.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        settings: FitConfig,
        random: np.random.Generator,
        workers: Workers,
        costs: Costs | None = None,
        phase: str = "training",
    ) -> None:
        self.phase = phase
        self.network = network
        self.task = task
        self.settings = settings
        self.workers = workers
        self.random = random
        self.own_random = workers.own(random)
        self.averaged = copy.deepcopy(network)
        self.tables = tables(network, self.averaged, settings)
        self.optimizer = torch.optim.AdamW(
            dense(network, self.tables),
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.costs = costs or Costs()
        self.forecast = Forecast()
        self.finishing_s = 0.0
        self.schedule = Schedule(settings, self.costs.begun, self.costs.share)
        self.history: list[Line] = []
        self.best_weights: dict[str, Tensor] = {}
        self.epoch = 0
        self.step = 0
        self.losses = list[Tensor]()
        self.before_epoch: Mapping[str, Any] = {}  # the generator's state
        self.in_epoch: Mapping[str, Any] = {}  # of an epoch that is taken up again

    def over(self) -> bool:
        """Whether the schedule has ended, or too many epochs brought nothing better."""
        waited = (
            len(self.history)
            and self.history[-1].epoch - self.best().epoch >= self.settings.patience
        )
        return (
            bool(self.schedule.done >= 1.0 or waited or self.epoch >= self.settings.epochs)
            and self.step == 0
        )

    def best(self) -> Line:
        """The first of the best epochs so far; the newest where nothing is validated."""
        if not self.history[-1].metrics:
            return self.history[-1]
        return max(self.history, key=lambda line: line.metrics["ndcg10"])

    def learn(self, progress: TrainingProgress, keeper: Keeper) -> None:
        """The steps of an epoch, or those that are left of it."""
        self.network.train()
        plan = self._plan()
        for windows in plan[self.step :]:
            if self.step and self.schedule.done >= 1.0:
                break
            begun = time.monotonic()
            each = self.task.losses(windows, self.own_random)
            self._check(each, len(plan))
            descend(
                self.network,
                self.averaged,
                self.optimizer,
                self.tables,
                each,
                self.task.weights,
                self.settings,
                self.schedule,
                self.workers,
            )
            self.losses.append(each.detach())
            self.step += 1
            self.schedule.advance(
                (self.epoch + self.step / len(plan)) / self.settings.epochs, self.workers
            )
            progress.step(self.schedule.done, self.losses[-1].sum().item())
            if self.forecast.add(time.monotonic() - begun):
                progress.say(self._foretell(len(plan)))
            keeper.look(self)

    def judge(self) -> Line:
        """Validate what the epoch brought, and begin the next one."""
        if not self.sound():
            raise DivergedError(self._diverged("its weights are no longer numbers"))
        means = tuple(self.workers.mean(torch.stack(self.losses).mean(dim=0)).tolist())
        begun = time.monotonic()
        for table in self.tables:
            table.settle()
        try:
            metrics = self.task.validate(self.averaged, self.workers)
        except DivergedError as error:
            raise DivergedError(self._diverged(str(error))) from error
        validation_s = self.workers.first(lambda: time.monotonic() - begun)
        self.schedule.reserve(validation_s + self.finishing_s)
        seconds = self.schedule.seconds()
        done = self.schedule.done
        self.history.append(
            Line(epoch=self.epoch, losses=means, metrics=metrics, seconds=seconds, done=done)
        )
        if self.best() is self.history[-1]:
            self.best_weights = copy.deepcopy(self.averaged.state_dict())
        self.epoch = self.epoch + 1
        self.step = 0
        self.losses = []
        return self.history[-1]

    def where(self) -> str:
        """See `Keepable`."""
        minutes = self.schedule.seconds() / 60
        own = "" if self.phase == "training" else f" of the {self.phase}"
        return (
            f"step {self.step} of epoch {self.epoch + 1} of {self.settings.epochs}{own}, after "
            f"{minutes:.1f} minutes"
        )

    def sound(self) -> bool:
        """See `Keepable`."""
        return all(bool(torch.isfinite(weights).all()) for weights in self.averaged.parameters())

    def state(self) -> dict[str, Any]:
        """See `Keepable`."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "tables": [table.state() for table in self.tables],
            "schedule": {
                "steps": self.schedule.steps,
                "done": self.schedule.done,
                "seconds": self.schedule.seconds(),
            },
            "history": [
                {
                    **dataclasses.asdict(line),
                    "metrics": {name: float(value) for name, value in line.metrics.items()},
                }
                for line in self.history
            ],
            "best_weights": self.best_weights,
            "place": {"epoch": self.epoch, "step": self.step, "losses": self.losses},
            "before_epoch": self.before_epoch,
            "in_epoch": self.random.bit_generator.state,
            "torch": generators(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Keepable`."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        for table, kept in zip(self.tables, state["tables"], strict=True):
            table.restore(kept)
        self.schedule.restore(**state["schedule"])
        self.history = [Line(**line) for line in state["history"]]
        self.best_weights = state["best_weights"]
        self.epoch = state["place"]["epoch"]
        self.step = state["place"]["step"]
        device = next(self.network.parameters()).device
        self.losses = [losses.to(device) for losses in state["place"]["losses"]]
        self.before_epoch = state["before_epoch"]
        self.in_epoch = state["in_epoch"]
        if not self.step:
            self.random.bit_generator.state = self.in_epoch
        set_generators(state["torch"])

    def _foretell(self, steps: int) -> str:
        """How long all will take; from now on the schedule leaves time for what follows it."""
        begun = time.monotonic()
        minutes = self.settings.minutes_max
        validation_s = self.workers.first(lambda: self.costs.validation(self.averaged))
        if minutes is not None:
            self.finishing_s = self.workers.first(
                lambda: self.costs.finishing(self.averaged, validation_s)
            )
        self.schedule.reserve(validation_s + self.finishing_s)
        self.schedule.pause(time.monotonic() - begun)
        return sentence(
            spent_s=self.schedule.seconds(),
            epoch_s=steps * self.forecast.step_s() + validation_s,
            done=self.epoch + self.step / steps,
            epochs=self.settings.epochs,
            finishing_s=self.finishing_s,
            minutes=minutes,
            limit_s=self.schedule.limit_s(),
        )

    def _plan(self) -> Sequence[Windows]:
        """The epoch's batches; of an epoch that was begun before, the same ones again."""
        if self.step:
            self.random.bit_generator.state = self.before_epoch
        self.before_epoch = self.random.bit_generator.state
        plan = self.workers.part(self.task.epoch(self.random))
        if self.step:
            self.random.bit_generator.state = self.in_epoch
        return plan

    def _check(self, losses: Tensor, steps: int) -> None:
        if not bool(torch.isfinite(losses).all()):
            said = ", ".join(f"{loss:g}" for loss in losses.tolist())
            raise DivergedError(
                self._diverged(f"step {self.step + 1} of {steps} gives losses of {said}")
            )

    def _diverged(self, what: str) -> str:
        rate = self.settings.learning_rate
        return (
            f"the {self.phase} diverged in epoch {self.epoch + 1}: {what}; lower learning_rate, "
            f"which is {rate:g}, by "
            f'--settings FILE with {{"training": {{"learning_rate": {rate / 3:.2g}}}}}'
        )


def descend(
    network: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    tables: Sequence[RowAdam],
    losses: Tensor,
    weights: Sequence[float],
    settings: FitConfig,
    schedule: Schedule,
    workers: Workers,
) -> None:
    """One step down the weighted losses (n,) of all,
    then averaged <- decay * averaged + (1 - decay) * network.
    """
    network.zero_grad(set_to_none=True)
    torch.autograd.backward(losses @ losses.new_tensor(weights))
    others = dense(network, tables)
    workers.average_gradients(others)
    of_rows = [table.gather() for table in tables]
    norm = get_total_norm([each.grad for each in others if each.grad is not None] + of_rows)
    clip_grads_with_norm_(others, settings.clip, norm)
    for gradient in of_rows:
        gradient.mul_((settings.clip / (norm + NORM_MIN)).clamp(max=1.0))
    rate = settings.learning_rate * schedule.rate()
    for part in optimizer.param_groups:
        part["lr"] = rate
    optimizer.step()
    average = get_ema_multi_avg_fn(schedule.decay())
    average(dense(averaged, tables), others, 0)
    for table in tables:
        table.step(rate, schedule.decay())


def tables(network: nn.Module, averaged: nn.Module, settings: FitConfig) -> list[RowAdam]:
    """What trains the embeddings whose gradients are sparse, row by row."""
    return [
        RowAdam(table, twin, betas=settings.betas, weight_decay=settings.weight_decay)
        for table, twin in zip(_sparse(network), _sparse(averaged), strict=True)
    ]


def dense(network: nn.Module, tables: Sequence[RowAdam]) -> list[nn.Parameter]:
    """The other parameters, of the network or of its average."""
    alone = {id(weight) for table in tables for weight in (table.weight, table.average)}
    return [each for each in network.parameters() if id(each) not in alone]


def _sparse(network: nn.Module) -> list[nn.Embedding]:
    return [each for each in network.modules() if isinstance(each, nn.Embedding) and each.sparse]


def generators() -> list[Tensor]:
    """The states of torch's generators, the CPU's first."""
    return [
        torch.get_rng_state(),
        *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []),
    ]


def set_generators(states: Sequence[Tensor]) -> None:
    """Set what `generators` gave; those of devices that are not there are left out."""
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.device_count() == len(states) - 1:
        torch.cuda.set_rng_state_all(states[1:])

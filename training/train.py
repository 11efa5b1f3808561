"""The training loop, from top to bottom, and the settings it reads."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from model.config import ModelConfig
from model.embedding import Sequences
from model.network import Network
from training.errors import TrainingError
from training.evaluate import NetworkRanker, rank
from training.initial import start_from_data
from training.losses import click_loss, next_item_loss
from training.progress import TrainingProgress
from training.sequences import Batch, Held, Histories, Vocabulary, groups, pad, training_windows
from training.targets import NegativeSampler, random_positions


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe; the shape of the model is `ModelConfig`'s.

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
    next_item_weight: float = 1.0
    click_weight: float = 0.3
    negativity_weight: float = 0.1
    positions: int = 8  # Q: positions a window that the head learns from
    negatives: int = 15  # M - 1
    context: int | None = None  # events before a validation target; None: all
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "patience", "length", "tokens", "positions", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("dropout", "warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be in [0, 1)")
        if self.minutes_max is not None and self.minutes_max <= 0:
            raise ValueError(f"minutes_max = {self.minutes_max} must be above 0; leave it out for no limit")
        if self.next_item_weight <= 0 and self.click_weight <= 0:
            raise ValueError("next_item_weight and click_weight are both 0: nothing would be learned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the history of a training; losses are means over the epoch's steps."""

    epoch: int
    next_item: float
    click: float
    negativity: float
    ndcg10: float  # validation, of the averaged weights
    hr10: float
    seconds: float  # since the start


@dataclass(frozen=True)
class TrainedModel:
    """The averaged weights of the best epoch, and how they came about."""

    network: Network
    vocabulary: Vocabulary
    settings: TrainConfig
    history: Sequence[Epoch]
    best: Epoch
    seconds: float


def train(
    shape: ModelConfig,
    settings: TrainConfig,
    vocabulary: Vocabulary,
    training: Histories,
    held: Held,
    *,
    show_progress: bool = True,
) -> TrainedModel:
    """Fit a network to the `training` histories; stop and choose the epoch by NDCG@10 on `held`."""
    random = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    device = pick_device(settings.device)
    items = len(vocabulary.items)
    shape = dataclasses.replace(shape, actions=vocabulary.actions, hashed_items=vocabulary.hashed)
    network = Network(shape, items, settings.dropout)
    start_from_data(network, training, settings.negatives, settings.seed)
    network.to(device)
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    sampler = NegativeSampler(training, items)
    schedule = Schedule(settings)

    history: list[Epoch] = []
    with TrainingProgress(shown=show_progress) as progress:
        for epoch in range(settings.epochs):
            network.train()
            plan = groups(training_windows(training, settings.length, random), settings.tokens, random)
            losses = []
            for step, group in enumerate(plan):
                each = batch_losses(network, pad(training, group), sampler, settings, random)  # (3,)
                descend(network, averaged, optimizer, each, settings, schedule)
                losses.append(each.detach())
                schedule.advance((epoch + (step + 1) / len(plan)) / settings.epochs)
                progress.step(schedule.done, losses[-1].sum().item())
                if schedule.done >= 1.0:
                    break

            found = rank(NetworkRanker(averaged), held, items, context=settings.context).summary()
            history.append(_line(epoch, torch.stack(losses), found, schedule.seconds()))
            progress.epoch(schedule.done, history[-1].ndcg10)
            best = max(history, key=lambda line: line.ndcg10)  # the first of equals
            if best is history[-1]:
                best_weights = copy.deepcopy(averaged.state_dict())
            if schedule.done >= 1.0 or epoch - best.epoch >= settings.patience:
                break

    network.load_state_dict(best_weights)
    return TrainedModel(network.cpu().eval(), vocabulary, settings, tuple(history), best, schedule.seconds())


def batch_losses(
    network: Network, batch: Batch, sampler: NegativeSampler, settings: TrainConfig, random: np.random.Generator
) -> Tensor:
    """Next-item, click and non-negativity loss of one batch, (3,); those of weight 0 are not computed."""
    device = network.item_bias.device
    events = Sequences(*(column.to(device) for column in batch.events))
    encoding = network.encode(events)
    next_item = click = negativity = torch.zeros((), device=device)
    if settings.next_item_weight > 0:
        next_item = next_item_loss(network.next_item_logits(encoding, events), events)
    if settings.click_weight > 0:
        at = random_positions(batch, settings.positions, random)
        asked = sampler.draw(batch.begins, at, settings.negatives, random)
        asked = type(asked)(*(column.to(device) for column in asked))
        click = click_loss(network.head(encoding, events, asked.at, asked.candidates, asked.now_ms), asked)
    if settings.negativity_weight > 0:
        negativity = network.negativity(encoding)
    return torch.stack([next_item, click, negativity])


def descend(
    network: Network,
    averaged: Network,
    optimizer: torch.optim.Optimizer,
    losses: Tensor,
    settings: TrainConfig,
    schedule: Schedule,
) -> None:
    """One step down the weighted losses (3,), then averaged <- decay * averaged + (1 - decay) * network."""
    weights = (settings.next_item_weight, settings.click_weight, settings.negativity_weight)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(losses @ losses.new_tensor(weights))
    clip_grad_norm_(network.parameters(), settings.clip)
    for part in optimizer.param_groups:
        part["lr"] = settings.learning_rate * schedule.rate()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - schedule.decay())


class Schedule:
    """How far a training is: by its epochs, or by the clock where `minutes_max` would run out first."""

    def __init__(self, settings: TrainConfig) -> None:
        self.settings, self.steps, self.done = settings, 0, 0.0
        self.started = time.monotonic()

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def advance(self, done: float) -> None:
        """One more step; by its epochs the training is `done`, 0 to 1."""
        limit = self.settings.minutes_max
        self.steps += 1
        self.done = done if limit is None else min(1.0, max(done, self.seconds() / (60 * limit)))

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


def _line(epoch: int, losses: Tensor, found: dict[str, float], seconds: float) -> Epoch:
    next_item, click, negativity = losses.mean(dim=0).tolist()
    return Epoch(
        epoch=epoch,
        next_item=next_item,
        click=click,
        negativity=negativity,
        ndcg10=found["ndcg10"],
        hr10=found["hr10"],
        seconds=seconds,
    )

"""Training and evaluating one click-through method, the same for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.accuracy.baselines.ctr.interest import Interest
from bench.accuracy.ctr.counts import liked
from bench.accuracy.ctr.data import CtrBatch, Impressions, batches, rows
from bench.accuracy.ctr.methods import ClickModel
from model.arrays import Bools, Doubles, Longs
from training.errors import DivergedError
from training.fit.harness import FitConfig, Schedule
from training.measure import metrics
from training.measure.calibrate import fit as fit_calibration

INTERVAL_SAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class CtrConfig:
    """The recipe, equal for all methods.

    Raises:
        ValueError: a setting is out of range.
    """

    epochs: int = 3
    # the schedule then shrinks to fit, which makes results depend on the machine
    minutes_max: float | None = None
    seed: int = 0
    length: int = 1000
    per_row: int = 16  # Q
    tokens: int = 8192  # padded events a batch
    learning_rate: float = 5e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 5.0
    dropout: float = 0.1
    average_decay: float = 0.99
    negativity_weight: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "length", "per_row", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout} must be in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CtrEpoch:
    """One line of the history of a training."""

    epoch: int
    loss: float  # mean of the epoch's steps
    auc: float  # validation, of the averaged weights
    log_loss: float
    seconds: float  # since the start


@dataclass(frozen=True)
class Fitted:
    """The averaged weights of the best epoch by validation AUC,
    its calibration, and how it came about.
    """

    model: ClickModel
    calibration: tuple[float, float]  # slope, shift: Platt's, from the validation part
    history: tuple[CtrEpoch, ...]
    best: CtrEpoch
    seconds: float


def train(
    interest: Callable[[], Interest],
    data: Impressions,
    settings: CtrConfig,
    say: Callable[[CtrEpoch], None] = print,
    *,
    counted: bool = False,
) -> Fitted:
    """Fit one method, its item biases from `counts.liked` on if `counted`;
    `say` hears of every epoch.

    Raises:
        DivergedError: the loss is no longer a number.
    """
    random = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    words = data.vocabulary
    model = ClickModel(interest(), len(words.items), words.actions, settings.dropout)
    if counted:
        model.start(torch.from_numpy(liked(data)))
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), weight_decay=settings.weight_decay, fused=True
    )
    schedule = Schedule(
        FitConfig(
            epochs=settings.epochs,
            minutes_max=settings.minutes_max,
            warmup=settings.warmup,
            average_decay=settings.average_decay,
        )
    )
    history: list[CtrEpoch] = []
    for epoch in range(settings.epochs):
        model.train()
        plan = rows(data, data.training, settings.length, settings.per_row, random)
        done = 0
        losses = []
        for batch in batches(data, plan, settings.length, settings.tokens, random):
            losses.append(_descend(model, averaged, optimizer, batch, settings, schedule))
            done += int(batch.valid.sum())
            schedule.advance((epoch + done / len(data.training)) / settings.epochs)
            if schedule.done >= 1.0:
                break
        history.append(_line(epoch, losses, averaged, data, settings, schedule))
        say(history[-1])
        best = max(history, key=lambda line: line.auc)
        if best is history[-1]:
            weights = copy.deepcopy(averaged.state_dict())
        if schedule.done >= 1.0:
            break
    model.load_state_dict(weights)
    logits, labels = predict(model, data, data.validation, settings)
    return Fitted(
        model.eval(), fit_calibration(labels, logits), tuple(history), best, schedule.seconds()
    )


def _descend(
    model: ClickModel,
    averaged: ClickModel,
    optimizer: torch.optim.Optimizer,
    batch: CtrBatch,
    settings: CtrConfig,
    schedule: Schedule,
) -> float:
    """One step; the batch's log-loss."""
    loss = click_loss(model(batch), batch)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss + settings.negativity_weight * model.interest.penalty())
    clip_grad_norm_(model.parameters(), settings.clip)
    for part in optimizer.param_groups:
        part["lr"] = settings.learning_rate * schedule.rate()
    optimizer.step()
    average = get_ema_multi_avg_fn(schedule.decay())
    average(list(averaged.parameters()), list(model.parameters()), 0)
    return float(loss.detach())


def click_loss(logits: Tensor, batch: CtrBatch) -> Tensor:
    """Mean log-loss of logits (B, Q) over the batch's real impressions."""
    each = binary_cross_entropy_with_logits(logits, batch.labels.to(logits.dtype), reduction="none")
    weight = batch.valid.to(logits.dtype)
    return (each * weight).sum() / weight.sum()


@torch.inference_mode()
def predict(
    model: ClickModel, data: Impressions, asked: Longs, settings: CtrConfig
) -> tuple[Doubles, Bools]:
    """Logits and labels (m,) of the impressions `asked` (m,), in their order."""
    model.eval()
    logits = np.empty(len(asked))
    for batch in batches(
        data, rows(data, asked, settings.length, settings.per_row), settings.length, settings.tokens
    ):
        valid = batch.valid.numpy()
        logits[np.searchsorted(asked, batch.positions[valid])] = model(batch).numpy()[valid]
    return logits, data.labels[asked]


def evaluate(
    fitted: Fitted, data: Impressions, settings: CtrConfig
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """AUC, GAUC, log-loss and calibration error of the test impressions,
    and 95 % intervals of the first and third.
    """
    raw, labels = predict(fitted.model, data, data.test, settings)
    slope, shift = fitted.calibration
    logits = slope * raw + shift
    found = {
        "auc": metrics.auc(labels, logits),
        "gauc": metrics.gauc(data.users[data.test], labels, logits),
        "log_loss": metrics.log_loss(labels, logits),
        "ece": metrics.calibration_error(labels, metrics.sigmoid(logits)),
    }
    intervals = {
        "auc": metrics.bootstrap(
            lambda at: metrics.auc(labels[at], logits[at]), len(labels), samples=INTERVAL_SAMPLES
        ),
        "log_loss": metrics.bootstrap(
            lambda at: metrics.log_loss(labels[at], logits[at]),
            len(labels),
            samples=INTERVAL_SAMPLES,
        ),
    }
    return found, intervals


def _line(
    epoch: int,
    losses: list[float],
    averaged: ClickModel,
    data: Impressions,
    settings: CtrConfig,
    schedule: Schedule,
) -> CtrEpoch:
    if not np.isfinite(losses).all():
        raise DivergedError(
            f"the loss is no longer a number in epoch {epoch + 1}; lower learning_rate"
        )
    logits, labels = predict(averaged, data, data.validation, settings)
    return CtrEpoch(
        epoch=epoch,
        loss=float(np.mean(losses)),
        auc=metrics.auc(labels, logits),
        log_loss=metrics.log_loss(labels, logits),
        seconds=schedule.seconds(),
    )

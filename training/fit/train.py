"""Training of the streaming model: its recipe, its losses, and what comes out;
the loop is `training.fit.harness`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.membership import Seen
from model.network.network import Encoding, Network
from training.data.remarks import to_stderr
from training.data.sequences import (
    Batch,
    Held,
    Histories,
    Vocabulary,
    Windows,
    groups,
    pad,
    training_windows,
)
from training.errors import TrainingError
from training.fit.distill import Teacher, Teachers
from training.fit.forecast import Costs, Finishing
from training.fit.harness import FitConfig, Line, fit, pick_device
from training.fit.identity import identity
from training.fit.initial import start_from_data, start_from_transitions
from training.fit.keeper import Keeper
from training.fit.losses import list_loss, next_item_loss
from training.fit.sampled import DRAWN, Drawing, logits_among, sampled_next_item_loss
from training.fit.softmax import Guide
from training.measure.evaluate import NetworkRanker, affordable, next_item_logits_at, rank
from training.measure.strength import strength_of
from training.measure.targets import ListSampler, random_positions
from training.workers import Workers

MEASURED = 400  # held-out events that tell how long a validation takes
CATALOGUE_MAX = 50_000  # items over which a softmax sums at every position, unless told otherwise
ROWS = 64  # questions a step that the head learns from, at most
SPARSE = 8  # the head's features of one position cost as much as a dozen events


@dataclass(frozen=True, kw_only=True)
class TrainConfig(FitConfig):
    """The recipe; the shape of the model is `ModelConfig`'s.

    Raises:
        ValueError: a setting is out of range.
    """

    next_item_weight: float = 1.0
    click_weight: float = 0.3
    smoothing: float = 0.0  # share of each next item that is spread over the whole catalogue
    # length of the item vectors that start from `training.data.transitions`, in lengths of random
    # ones; 0: all start at random
    transitions: float = 0.0
    negativity_weight: float = 0.1
    positions: int = 8  # Q: positions a window that the head learns from, at most one in SPARSE
    negatives: int = 63  # M: items beside the next one, drawn as the model lists them
    # of what teachers say, where there are any, against the clicks themselves
    teacher_weight: float = 0.5
    context: int | None = None  # events before a validation target; None: all
    # over the catalogue, or over a draw of it (`fit.sampled`); auto: full up to CATALOGUE_MAX items
    softmax: Literal["auto", "full", "sampled"] = "auto"
    drawn: int = DRAWN  # items a step, beside its own events, where the softmax is sampled

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing = {self.smoothing} must be in [0, 1)")
        if not 0 <= self.transitions < math.inf:
            raise ValueError(f"transitions = {self.transitions} must be a number from 0 on")
        for name in ("positions", "negatives", "drawn"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.softmax not in ("auto", "full", "sampled"):
            raise ValueError(f"softmax = {self.softmax!r} must be auto, full or sampled")
        if self.next_item_weight <= 0 and self.click_weight <= 0:
            raise ValueError(
                "next_item_weight and click_weight are both 0: nothing would be learned"
            )

    def samples(self, items: int) -> bool:
        """Whether the softmax over a catalogue of so many items is sampled."""
        return self.softmax == "sampled" or (self.softmax == "auto" and items > CATALOGUE_MAX)

    def softmax_of(self, items: int) -> str:
        """Which softmax a training of so many items takes, and why, as a sentence."""
        why = (
            "as the settings say"
            if self.softmax != "auto"
            else f"the catalogue of {items:,} items is not above {CATALOGUE_MAX:,}"
            if items <= CATALOGUE_MAX
            else f"the catalogue of {items:,} items is above {CATALOGUE_MAX:,}"
        )
        if not self.samples(items):
            return f"softmax over all items: {why}"
        return f"softmax over the batch's items and {self.drawn:,} drawn ones a step: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the history of a training; losses are means over the epoch's steps."""

    epoch: int
    next_item: float
    click: float
    negativity: float
    ndcg10: float  # validation, of the averaged weights; NaN where there is none
    hr10: float
    seconds: float  # since the start

    @classmethod
    def of(cls, line: Line) -> Epoch:
        """The harness's line, by names."""
        next_item, click, negativity = line.losses
        metrics = {"ndcg10": math.nan, "hr10": math.nan, **line.metrics}
        return cls(
            epoch=line.epoch,
            next_item=next_item,
            click=click,
            negativity=negativity,
            ndcg10=metrics["ndcg10"],
            hr10=metrics["hr10"],
            seconds=line.seconds,
        )


@dataclass(frozen=True)
class TrainedModel:
    """The averaged weights of the best epoch, and how they came about."""

    network: Network
    vocabulary: Vocabulary
    settings: TrainConfig
    history: Sequence[Epoch]
    best: Epoch
    seconds: float
    strength: float = 1.0  # of the head's correction, as held-out events bear it out


class StreamingTask:
    """Next item at all positions by the sequence state and at some by the head,
    and non-negativity; see `harness.Task`.
    """

    def __init__(
        self,
        network: Network,
        settings: TrainConfig,
        training: Histories,
        held: Held,
        teachers: Teachers | None = None,
    ) -> None:
        self.teachers = teachers
        self.network = network
        self.settings = settings
        self.training = training
        self.held = affordable(held, network.items)
        self.sampler = ListSampler(training, network.items)
        self.drawing = (
            Drawing(training.counts(network.items), settings.drawn)
            if settings.samples(network.items)
            else None
        )
        network.embedding.item.sparse = self.drawing is not None
        self.weights = (
            settings.next_item_weight,
            settings.click_weight,
            settings.negativity_weight,
        )

    def epoch(self, random: np.random.Generator) -> Sequence[Windows]:
        """Windows with new random boundaries, each event the target of one."""
        return groups(
            training_windows(self.training, self.settings.length, random),
            self.settings.tokens,
            random,
        )

    def losses(self, windows: Windows, random: np.random.Generator) -> Tensor:
        """Next-item, click and non-negativity loss of one batch, (3,);
        those of weight 0 are not computed.
        """
        batch = pad(self.training, windows)
        device = self.network.item_bias.device
        events = batch.events.each(lambda column: column.to(device))
        encoding = self.network.encode(events)
        next_item = click = negativity = torch.zeros((), device=device)
        if self.settings.next_item_weight > 0:
            next_item = self.next_item(encoding, events, batch, random)
        if self.settings.click_weight > 0:
            click = self.click(encoding, events, batch, random)
        if self.settings.negativity_weight > 0:
            negativity = self.network.negativity(encoding)
        return torch.stack([next_item, click, negativity])

    def next_item(
        self,
        encoding: Encoding,
        events: Sequences,
        batch: Batch,
        random: np.random.Generator,
    ) -> Tensor:
        """Cross-entropy over the catalogue or over a draw of it, and what teachers say."""
        network = self.network
        guide = None if self.teachers is None else partial(_guide, self.teachers, batch)
        if self.drawing is not None:
            candidates = self.drawing.candidates(events, random)
            return sampled_next_item_loss(
                network, encoding.sequence, events, candidates, guide, self.settings.smoothing
            )
        table = network.embedding.item.weight[: network.items]
        bias = network.item_bias[: network.items]
        smoothing = self.settings.smoothing
        return next_item_loss(
            encoding.sequence, events, table, bias, network.membership, guide, smoothing
        )

    def click(
        self, encoding: Encoding, events: Sequences, batch: Batch, random: np.random.Generator
    ) -> Tensor:
        """Cross-entropy of the head at some positions, among what the model itself lists there."""
        network = self.network
        positions = min(self.settings.positions, -(-events.items.shape[1] // SPARSE))
        at = random_positions(batch, positions, random)
        if len(at) * positions > ROWS:
            some = np.sort(random.permutation(len(at))[: -(-ROWS // positions)])
            at = at[some]
            events, encoding, batch = _only(torch.from_numpy(some), events, encoding, batch)
        row = torch.arange(len(at)).repeat_interleave(positions).to(events.items.device)
        asked_at = torch.from_numpy(at).flatten().to(row)
        count = self.settings.negatives
        with torch.no_grad():
            if self.drawing is None:
                own = next_item_logits_at(network, encoding, events.items, row, asked_at)
                drawn = self.sampler.draw(batch.begins, at, own, count, random)
            else:
                among = self.drawing.candidates(events, random).items
                own = logits_among(network, encoding.sequence, events, among, row, asked_at)
                drawn = self.sampler.draw_among(batch.begins, at, own, among, count, random)
        asked = type(drawn)(*(column.to(row.device) for column in drawn))
        apart = self.settings.next_item_weight > 0  # else nobody taught the next-item logit
        question = (asked.at, asked.candidates, asked.now_ms)
        return list_loss(network.head(encoding, events, *question, apart=apart), asked)

    def validation_s(self, network: nn.Module) -> float:
        """About how many seconds `validate` takes, from a part of it."""
        assert isinstance(network, Network)
        known = self.held.targets(network.items)
        users = np.unique(np.searchsorted(self.held.histories.starts, known, side="right") - 1)
        chosen = np.zeros(len(self.held.tails), dtype=bool)
        chosen[users[:: max(1, len(known) // MEASURED)]] = True
        part = self.held._replace(tails=np.where(chosen, self.held.tails, 0))
        begun = time.monotonic()
        rank(NetworkRanker(network), part, network.items, context=self.settings.context)
        return (time.monotonic() - begun) * float(self.held.tails.sum()) / float(part.tails.sum())

    def validate(self, network: nn.Module, workers: Workers) -> Mapping[str, float]:
        """Ranking metrics of the next item."""
        assert isinstance(network, Network)
        ranker = NetworkRanker(network)
        context = self.settings.context
        return rank(ranker, self.held, network.items, context=context, workers=workers).summary()


def train(
    shape: ModelConfig,
    settings: TrainConfig,
    vocabulary: Vocabulary,
    training: Histories,
    held: Held,
    *,
    show_progress: bool = True,
    on_epoch: Callable[[Line], None] | None = None,
    workers: Workers | None = None,
    teachers: Sequence[Teacher] = (),
    keeper: Keeper | None = None,
    begun: float | None = None,
    finishing: Finishing = lambda *_: 0.0,
    phase: str = "training",
    share: float = 1.0,
    strength: float | None = None,
    network_type: type[Network] = Network,
    task_type: type[StreamingTask] = StreamingTask,
) -> TrainedModel:
    """Fit a network to the `training` histories; stop and choose the epoch by NDCG@10 on `held`.

    With `teachers`, models of the same catalogue, the new one also learns what these say. A
    `keeper` keeps the training on disk as it goes. The clock of `minutes_max` began at `begun` (of
    time.monotonic()), and leaves time for what follows the training, as `finishing` says; a `share`
    of the minutes is this training's, which is called by its `phase`. The head's correction is
    taken at the `strength` that `held` bears out (`training.measure.strength`), if none is given.
    Studies bring types of their own.

    Raises:
        TrainingError: a teacher knows another catalogue, or the training diverged or was stopped.
    """
    items = len(vocabulary.items)
    if show_progress and phase == "training":
        to_stderr(settings.softmax_of(items))
        asked = int(affordable(held, items).tails.sum())
        if asked < (all_held := int(held.tails.sum())):
            to_stderr(f"a validation asks for {asked:,} of {all_held:,} held-out events")
    if settings.samples(items) and workers is not None and workers.size > 1:
        raise TrainingError(
            f"{settings.softmax_of(items)}; that is done by one worker: leave --workers out"
        )
    random = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    device = pick_device(settings.device)
    shape = dataclasses.replace(shape, actions=vocabulary.actions, hashed_items=vocabulary.hashed)
    network = network_type(shape, items, settings.dropout)
    start_from_data(network, training, settings.seed)
    start_from_transitions(network, training, settings.transitions, settings.seed)
    network.to(device)
    opinions = [teacher.opinion(training, vocabulary) for teacher in teachers]
    said = Teachers(opinions, settings.teacher_weight) if opinions else None
    task = task_type(network, settings, training, held, said)
    if keeper is not None:
        keeper.identify(identity(shape, settings, training, held, opinions))
    fitted = fit(
        network,
        task,
        settings,
        random,
        show_progress=show_progress,
        on_epoch=on_epoch,
        workers=workers,
        keeper=keeper,
        costs=Costs(begun=begun, validation=task.validation_s, finishing=finishing, share=share),
        phase=phase,
    )
    if strength is None:
        strength = strength_of(network, task.held, settings.seed)
    network.evidence.temper(strength)
    history = tuple(Epoch.of(line) for line in fitted.history)
    return TrainedModel(
        network, vocabulary, settings, history, Epoch.of(fitted.best), fitted.seconds, strength
    )


def _guide(teachers: Teachers, batch: Batch, usable: Tensor, seen: Seen) -> Guide:
    """What the teachers say at the positions of a batch that are `usable` (B, L)."""
    place = torch.from_numpy(batch.begins)[:, None] + torch.arange(usable.shape[1])  # (B, L)
    return teachers.guide(place[usable], seen)


def _only(
    some: Tensor, events: Sequences, encoding: Encoding, batch: Batch
) -> tuple[Sequences, Encoding, Batch]:
    """These rows of a batch, and what was found out about them."""
    at = some.to(events.items.device)
    events = events.each(lambda column: column[at])
    encoding = Encoding(*(part[at] for part in encoding))
    kept = batch.events.each(lambda column: column[some])
    return events, encoding, Batch(kept, batch.begins[some.numpy()])

"""What the next-item references share: item table,
logits with or without membership, the task of fitting them.

    logit(i | history) = h . e_i  (+ bias of how long ago i was seen, with `membership`)

h is the reference's own encoding of the history, e the item table that also feeds it (tied, without
an item bias, as all four were published). The membership bias is the product's
(`model.network.membership`), started from the data like the product's (`training.fit.initial`) and
learned with the rest, so that a table can show what a model earns and what membership earns.

Letters: B users, L events, D width, V catalogue items, U rows of other items, m questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.membership import Membership
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
from training.fit.distill import TOKENS, Opinion
from training.fit.harness import FitConfig
from training.fit.initial import start_membership
from training.fit.losses import next_item_loss
from training.measure.evaluate import add_membership_at, rank
from training.workers import Workers

SPREAD = 0.02  # standard deviation of the item table at the start


class Encoder(Protocol):
    """A reference's own part."""

    causal: bool  # whether the encoding at t depends on events 1..t only

    def __call__(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Encodings (B, L, D) of item vectors (B, L, D),
        padded at the end where mask (B, L) is false.
        """
        ...


class Reference(nn.Module):
    """A next-item model around an encoder (`Encoder`), for V items and U rows of others."""

    def __init__(
        self, encoder: nn.Module, vocabulary: Vocabulary, width: int, *, membership: bool
    ) -> None:
        super().__init__()
        self.items = len(vocabulary.items)
        self.table = nn.Embedding(self.items + vocabulary.hashed, width)
        nn.init.normal_(self.table.weight, std=SPREAD)
        self.encoder = encoder
        self.membership = Membership(ModelConfig()) if membership else None

    @property
    def causal(self) -> bool:
        """Whether one pass over a history serves all its positions."""
        return bool(self.encoder.causal)

    def start_from(self, histories: Histories, seed: int) -> None:
        """Put the membership biases where the data say."""
        if self.membership is not None:
            counts = histories.counts(self.items)
            with torch.no_grad():
                start_membership(self.membership, histories, counts, np.random.default_rng(seed))

    def encode(self, events: Sequences) -> Tensor:
        """Histories to encodings (B, L, D)."""
        encoded: Tensor = self.encoder(self.table(events.items), events.mask)
        return encoded

    def logits_at(self, encoded: Tensor, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """Logits (m, V) of users `row` (m,) after positions `at` (m,),
        from the encodings there (m, D).
        """
        logits = encoded @ self.table.weight.mT  # (m, V+U)
        if self.membership is not None:
            logits = add_membership_at(self.membership, logits, events.items, row, at)
        return logits[:, : self.items]

    def prefix_logits(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """`logits_at` where each question is a history of its own,
        cut after its position: for any encoder.
        """
        length = int(at.max()) + 1
        kept = torch.arange(length, device=at.device) <= at[:, None]  # (m, L')
        items, actions, times_ms = (column[row, :length] for column in events[:3])
        cut = Sequences(items, actions, times_ms, kept)
        each = torch.arange(len(row), device=row.device)
        return self.logits_at(self.encode(cut)[each, at], events, row, at)


class ReferenceRanker:
    """Scores of a reference at a few positions; see `training.measure.evaluate.Ranker`."""

    def __init__(self, model: Reference) -> None:
        self.model = model.eval()
        self.device = model.table.weight.device
        self._last: tuple[Sequences, Tensor] | None = None

    @torch.inference_mode()
    def logits_at(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """Scores (m, V) after events `at` (m,) of users `row` (m,)."""
        moved = _on(self.device, events)
        row = row.to(self.device)
        at = at.to(self.device)
        if not self.model.causal:
            return self.model.prefix_logits(moved, row, at).cpu()
        if self._last is None or self._last[0] is not events:
            self._last = events, self.model.encode(moved)
        return self.model.logits_at(self._last[1][row, at], moved, row, at).cpu()


class ReferenceTeacher:
    """A reference as a teacher (`training.fit.distill.Teacher`):
    each prefix of a history is read on its own.

    So a model that reads both ways says nothing at an event that it could know only from a later
    one.
    """

    def __init__(self, model: Reference, length: int) -> None:
        self.model = model.eval()
        self.length = length

    @torch.inference_mode()
    def opinion(self, histories: Histories, vocabulary: Vocabulary) -> Opinion:
        """What it says after each event, from the up to `length` newest.

        Raises:
            TrainingError: it was trained on a catalogue of another size.
        """
        items = len(vocabulary.items)
        if self.model.items != items:
            raise TrainingError(
                f"a teacher of {self.model.items:,} items cannot teach a catalogue of {items:,}"
            )
        firsts = np.repeat(histories.starts[:-1], histories.lengths())
        ends = np.arange(1, len(histories.items) + 1)
        found = torch.zeros(len(ends), self.model.table.weight.shape[1])
        for windows in groups(Windows(np.maximum(firsts, ends - self.length), ends), TOKENS):
            events = pad(histories, windows).events
            last = events.mask.sum(dim=1) - 1
            found[torch.from_numpy(windows.ends - 1)] = self.model.encode(events)[
                torch.arange(len(last)), last
            ]
        return Opinion(
            found, self.model.table.weight[:items], torch.zeros(items), self.model.membership
        )


class ReferenceTask:
    """Full-softmax cross-entropy of the next item; see `training.fit.harness.Task`.

    A causal model learns from all positions of a window at once. Any other sees its own target when
    it reads beyond a position, so it learns from the last position of prefixes alone, `prefixes` of
    them drawn anew for each epoch.
    """

    weights: Sequence[float] = (1.0,)

    def __init__(
        self,
        model: Reference,
        settings: FitConfig,
        training: Histories,
        held: Held,
        *,
        prefixes: int,
    ) -> None:
        self.model = model
        self.settings = settings
        self.training = training
        self.held = held
        self.prefixes = prefixes

    def epoch(self, random: np.random.Generator) -> Sequence[Windows]:
        """Windows of all events, or some prefixes."""
        length = self.settings.length
        tokens = self.settings.tokens
        if self.model.causal:
            return groups(training_windows(self.training, length, random), tokens, random)
        return groups(
            sampled_prefixes(self.training, length, self.prefixes, random), tokens, random
        )

    def losses(self, windows: Windows, random: np.random.Generator) -> Tensor:  # noqa: ARG002 - nothing is drawn
        """The one loss, (1,)."""
        batch = pad(self.training, windows)
        events = _on(self.model.table.weight.device, batch.events)
        if self.model.causal:
            table = self.model.table.weight[: self.model.items]
            return next_item_loss(
                self.model.encode(events), events, table, None, self.model.membership
            )[None]
        return self._last_position(events, batch)[None]

    def _last_position(self, events: Sequences, batch: Batch) -> Tensor:
        last = events.mask.sum(dim=1) - 1  # (B,): the target
        row = torch.arange(len(batch.begins), device=last.device)
        target = events.items[row, last]
        wanted = torch.where(target < self.model.items, target, -100)
        logits = self.model.prefix_logits(events, row, last - 1)
        return cross_entropy(logits, wanted, reduction="sum") / (wanted >= 0).sum().clamp(min=1)

    def validate(self, network: nn.Module, workers: Workers) -> Mapping[str, float]:
        """Ranking metrics, from the newest `length` events of each history."""
        assert isinstance(network, Reference)
        ranker = ReferenceRanker(network)
        context = self.settings.length
        return rank(ranker, self.held, network.items, context=context, workers=workers).summary()


def sampled_prefixes(
    histories: Histories, length: int, count: int, random: np.random.Generator
) -> Windows:
    """At most `count` windows, each a random event as target and the up
    to `length` events before it.
    """
    firsts = np.repeat(histories.starts[:-1], histories.lengths())
    targets = np.flatnonzero(np.arange(len(firsts)) > firsts)
    if len(targets) > count:
        targets = random.choice(targets, count, replace=False)
    return Windows(np.maximum(firsts[targets], targets - length), targets + 1)


def _on(device: torch.device, events: Sequences) -> Sequences:
    return events.each(lambda column: column.to(device))

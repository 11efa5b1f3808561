"""How well held-out events are predicted:
ranks over the whole catalogue (`ranking`), click probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from model.arrays import Bools, Doubles, Longs
from model.network.embedding import Sequences
from model.network.membership import Membership
from model.network.network import Encoding, Network
from training.data.sequences import Batch, Held, Windows, groups, pad
from training.measure import metrics
from training.measure.ranking import Ranking
from training.measure.targets import ClickTargets, Lists, NegativeSampler, labelled
from training.workers import Alone, Workers

TOKENS = 12_800
# elements of the largest temporary: events x catalogue, or events x history x WIDEST
WORK_MAX = 8_000_000
# scores that a validation may compare, events x catalogue: about a minute of one thread
RANKED_MAX = 4_000_000_000
WIDEST = 128  # about the numbers that a model holds for each event of a history


class Ranker(Protocol):
    """Anything that scores the whole catalogue after some events."""

    def logits_at(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """Scores (m, V) of every catalogue item for users `row` (m,) of a
        batch after their events `at` (m,).
        """
        ...


class Encoder:
    """A network's encodings, on its own device;
    a batch asked for several times in a row is encoded once.
    """

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.device = network.item_bias.device
        self._last: tuple[Sequences, Sequences, Encoding] | None = None

    def __call__(self, events: Sequences) -> tuple[Sequences, Encoding]:
        """The batch and its encoding, both on the device."""
        if self._last is None or self._last[0] is not events:
            moved = events.each(lambda column: column.to(self.device))
            self._last = events, moved, self.network.encode(moved)
        return self._last[1:]


class NetworkRanker:
    """Next-item logits of a network at a few positions, without those at all others."""

    def __init__(self, network: Network) -> None:
        self.encoder = Encoder(network)

    @torch.inference_mode()
    def logits_at(self, events: Sequences, row: Tensor, at: Tensor) -> Tensor:
        """See `Ranker`."""
        moved, encoding = self.encoder(events)
        row = row.to(self.encoder.device)
        at = at.to(self.encoder.device)
        return next_item_logits_at(self.encoder.network, encoding, moved.items, row, at).cpu()


def next_item_logits_at(
    network: Network, encoding: Encoding, items: Tensor, row: Tensor, at: Tensor
) -> Tensor:
    """`Network.next_item_logits` for users `row` (m,) at positions `at` (m,) only: (m, V)."""
    # (m, V+U)
    logits = encoding.sequence[row, at] @ network.embedding.item.weight.mT + network.item_bias
    return add_membership_at(network.membership, logits, items, row, at)[:, : network.items]


def add_membership_at(
    membership: Membership, logits: Tensor, items: Tensor, row: Tensor, at: Tensor
) -> Tensor:
    """Add the biases of what users `row` (m,) of items (B,
    L) had up to positions `at` (m,) to logits (m, V+U).
    """
    age = at[:, None] - torch.arange(items.shape[1], device=items.device)  # (m, L)
    own = items[row]  # (m, L)
    summed = torch.stack(
        [
            torch.zeros_like(logits).scatter_add(1, own, each).gather(1, own)
            for each in membership.votes_and_number(age)
        ]
    )  # (2, m, L)
    # an item that comes twice is set twice, to the same
    return logits.scatter(1, own, logits.gather(1, own) + membership.bias_of(summed))


class Asked(NamedTuple):
    """Some held-out events of one batch: their users' rows, and the positions right before them."""

    batch: Batch
    row: Longs  # (m,)
    at: Longs  # (m,)

    @property
    def begins(self) -> Longs:
        """Flat position (m,) of the first event of each one's row."""
        return self.batch.begins[self.row]


def rank(
    ranker: Ranker,
    held: Held,
    items: int,
    *,
    context: int | None = None,
    workers: Workers | None = None,
) -> Ranking:
    """Rank each held-out catalogue event (row < `items`) among all items,
    given the `context` events before it.

    Each of several `workers` ranks its share of the users, and all get the whole.

    Raises:
        TrainingError: there is nothing to rank.
        DivergedError: the scores are not numbers.
    """
    workers = workers or Alone()
    parts = []
    for asked in asks(held.share(workers.rank, workers.size), items, context):
        row = torch.from_numpy(asked.row)
        at = torch.from_numpy(asked.at)
        scores = ranker.logits_at(asked.batch.events, row, at).numpy()  # (m, V)
        parts.append(Ranking.of(scores, held, asked.begins + asked.at))
    return Ranking.joined([part for each in workers.gather(parts) for part in each])


def affordable(held: Held, items: int, scores_max: int = RANKED_MAX) -> Held:
    """The targets of so many users, drawn at random but always the same, that at most `scores_max`
    scores are compared when a catalogue of `items` is ranked for each; all where that suffices.
    """
    events_max = max(1, scores_max // items)
    if held.tails.sum() <= events_max:
        return held
    order = np.random.default_rng(0).permutation(np.flatnonzero(held.tails))
    count = max(1, int(np.searchsorted(np.cumsum(held.tails[order]), events_max, side="right")))
    tails = np.zeros_like(held.tails)
    tails[order[:count]] = held.tails[order[:count]]
    return held._replace(tails=tails)


def asks(
    held: Held,
    items: int,
    context: int | None,
    share: float = 1.0,
    random: np.random.Generator | None = None,
) -> Iterator[Asked]:
    """All held-out events whose item is in the catalogue, in pieces whose temporaries stay small.

    With `random`, about a `share` of them.
    """
    histories = held.histories
    ends = histories.starts[1:]
    firsts = ends - held.tails  # flat position of each user's first target
    begins = (
        histories.starts[:-1]
        if context is None
        else np.maximum(histories.starts[:-1], firsts - context)
    )
    some = held.tails > 0
    first_of = dict(zip(begins[some].tolist(), firsts[some].tolist(), strict=True))
    for group in groups(Windows(begins[some], ends[some]), TOKENS):
        batch = pad(histories, group)
        lengths = batch.events.mask.sum(dim=1).numpy()
        rows = []
        ats = []
        for number, begin in enumerate(batch.begins.tolist()):
            target = np.arange(first_of[begin], begin + lengths[number])
            target = target[histories.items[target] < items]
            rows.append(np.full(len(target), number))
            ats.append(target - begin - 1)
        row = np.concatenate(rows)
        at = np.concatenate(ats)
        if random is not None and share < 1:
            drawn = random.random(len(row)) < share
            row = row[drawn]
            at = at[drawn]
        piece = max(1, WORK_MAX // max(items, WIDEST * int(lengths.max())))
        for start in range(0, len(row), piece):
            yield Asked(batch, row[start : start + piece], at[start : start + piece])


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """Logits and labels of held-out candidates, one row each."""

    users: Longs
    labels: Bools
    logits: Doubles

    def summary(self, calibration: tuple[float, float] = (1.0, 0.0)) -> dict[str, float]:
        """AUC, GAUC, log-loss and expected calibration error of p = sigmoid(a * logit + b)."""
        slope, shift = calibration
        logits = slope * self.logits + shift
        return {
            "impressions": float(len(self.labels)),
            "auc": metrics.auc(self.labels, logits),
            "gauc": metrics.gauc(self.users, self.labels, logits),
            "log_loss": metrics.log_loss(self.labels, logits),
            "ece": metrics.calibration_error(self.labels, metrics.sigmoid(logits)),
        }


@torch.inference_mode()
def clicks(
    network: Network,
    held: Held,
    *,
    sampler: NegativeSampler | None = None,
    labels: Bools | None = None,
    negatives: int = 99,
    context: int | None = None,
    share: float = 1.0,
    seed: int = 0,
) -> Clicks:
    """Click logits of held-out events: against sampled negatives, or with their own labels (n,).

    Histories hold only what came before each event. With a `share` below 1, a random part of the
    events is asked.

    Raises:
        ValueError: neither or both of `sampler` and `labels` are given.
    """
    if (sampler is None) == (labels is None):
        raise ValueError("give either a sampler of negatives or labels")
    random = np.random.default_rng(seed)
    found: list[Clicks] = []
    encoder = Encoder(network)
    for asked in asks(held, network.items, context, share, random):
        if sampler is not None:
            targets = sampler.draw(asked.begins, asked.at[:, None], negatives, random)
        else:
            assert labels is not None
            targets = labelled(held.histories, asked.begins, asked.at[:, None], labels)
        users = np.searchsorted(held.histories.starts, asked.begins, side="right") - 1
        found.append(
            Clicks(
                users=np.repeat(users, targets.labels.shape[-1]),
                labels=targets.labels.numpy().ravel(),
                logits=head_at(encoder, asked, targets).double().numpy().ravel(),
            )
        )
    names = ("users", "labels", "logits")
    return Clicks(
        **{name: np.concatenate([getattr(part, name) for part in found]) for name in names}
    )


def head_at(encoder: Encoder, asked: Asked, targets: ClickTargets | Lists) -> Tensor:
    """Head logits (m, 1, M): each question gets a row of its own, cut from its user's encoding."""
    whole, encoding = encoder(asked.batch.events)
    row = torch.from_numpy(asked.row).to(encoder.device)
    events = whole.each(lambda column: column[row])
    encoding = Encoding(*(part[row] for part in encoding))
    asked_for = (targets.at, targets.candidates, targets.now_ms)
    at, candidates, now_ms = (part.to(encoder.device) for part in asked_for)
    return encoder.network.head(encoding, events, at, candidates, now_ms).cpu()

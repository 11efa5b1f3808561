"""Networks and losses that the product does not have,
for the study of what its own choices are worth.

A network that the product does not have cannot be folded by the compiled kernel either: its rows
rank as trained.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from bench.accuracy.dropped import Diagonal, SharedEcho, WithEcho
from model.config import ModelConfig
from model.network.embedding import Sequences, gaps_of
from model.network.glu import GLU
from model.network.membership import Membership
from model.network.network import Encoding, Network
from model.network.ssm import Drive, StateSpace
from training.data.sequences import Batch
from training.fit.losses import membership_places
from training.fit.train import StreamingTask


class TwoBlocks(Network):
    """A second state space and GLU on top of the first: twice the state."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.second_ssm = StateSpace(config)
        self.second_norm = nn.LayerNorm(config.width)
        self.second_glu = GLU(config, dropout)

    def encode(self, batch: Sequences) -> Encoding:
        """See `Network.encode`."""
        x, sequence = super().encode(batch)
        return Encoding(
            x, self.second_glu(self.second_norm(sequence + self.dropout(self.second_ssm(sequence))))
        )


class TimedStateSpace(StateSpace):
    """The step size also hears of the time since the event before:
    a term for each head and bucket of the gap.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.of_gap = nn.Embedding(config.gap_buckets, config.heads)
        nn.init.zeros_(self.of_gap.weight)
        self.gaps = torch.zeros(0, dtype=torch.int64)

    def _drive(self, conv: Tensor, x: Tensor) -> Drive:
        plain = super()._drive(conv, x)
        more = nn.functional.softplus(self.step_size(x) + self.dt_bias + self.of_gap(self.gaps))
        return Drive(plain.x, plain.b, plain.c, more, -more * self.log_A.exp())


class TimedSteps(Network):
    """Step sizes that depend on time directly, not only through the input."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.ssm: TimedStateSpace = TimedStateSpace(config)

    def encode(self, batch: Sequences) -> Encoding:
        """See `Network.encode`."""
        self.ssm.gaps = gaps_of(batch, self.config.gap_buckets)
        return super().encode(batch)


class Forgetful(Membership):
    """Adds nothing to the logits of items that were seen; the head still hears of them."""

    def bias_of(self, summed: Tensor) -> Tensor:
        """See `Membership.bias_of`."""
        return 0.0 * super().bias_of(summed)


class NoMembership(Network):
    """Next items from the sequence state alone."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.membership: Membership = Forgetful(config)


class Ageless(Membership):
    """One bias for all that was seen, however long ago."""

    def bucket(self, age: Tensor) -> Tensor:
        """See `Membership.bucket`: the first for all but what is older
        than the reach, or never was.
        """
        bucket = super().bucket(age)
        return bucket.masked_fill(bucket < self.buckets - 1, 0)


class AgelessMembership(Network):
    """Membership without ages."""

    def __init__(self, config: ModelConfig, items: int, dropout: float = 0.0) -> None:
        super().__init__(config, items, dropout)
        self.membership: Membership = Ageless(config)


class Sampled(StreamingTask):
    """gBCE over sampled negatives, shared by a batch (gSASRec,
    arXiv 2308.07192, equation 20 with t = 0.75).
    """

    negatives = 256
    t = 0.75

    def next_item(
        self,
        encoding: Encoding,
        events: Sequences,
        batch: Batch,  # noqa: ARG002
        random: np.random.Generator,
    ) -> Tensor:
        """-log of sigmoid(s+)^beta and of 1 - sigmoid(s-), mean over positions."""
        network = self.network
        targets = events.items[:, 1:]
        usable = events.mask[:, 1:] & (targets < network.items)
        places, _ = membership_places(
            network.membership, events, pad(usable, (0, 1)), network.items, torch.float32
        )
        x = encoding.sequence[:, :-1][usable]
        wanted = targets[usable]
        drawn = torch.from_numpy(
            random.choice(network.items, min(self.negatives, network.items - 1), replace=False)
        )
        column = torch.full((network.items,), -1).index_put((drawn,), torch.arange(len(drawn)))[
            places.item
        ]
        asked = column >= 0
        others = x @ network.embedding.item.weight[drawn].mT + network.item_bias[drawn]  # (n, k)
        others = others.index_put(
            (places.row[asked], column[asked]), places.extra[asked], accumulate=True
        )
        hit = places.item == wanted[places.row]
        own = (x * network.embedding.item.weight[wanted]).sum(dim=1) + network.item_bias[wanted]
        own = own.index_put((places.row[hit],), places.extra[hit], accumulate=True)
        false = drawn[None] != wanted[:, None]
        share = len(drawn) / (network.items - 1)
        beta = share * (self.t * (1 - 1 / share) + 1 / share)
        losses = -beta * logsigmoid(own) - (logsigmoid(-others) * false).sum(dim=1)
        return losses.sum() / usable.sum().clamp(min=1)


class Variant(NamedTuple):
    """What is trained instead of the product's own."""

    network: type[Network] = Network
    task: type[StreamingTask] = StreamingTask
    teacher: str = ""  # a model of bench.accuracy.recipes that is trained first, and teaches


VARIANTS = {
    "two blocks": Variant(network=TwoBlocks),
    "timed steps": Variant(network=TimedSteps),
    "with echo": Variant(network=WithEcho),
    "shared echo": Variant(network=SharedEcho),
    "diagonal transition": Variant(network=Diagonal),
    "no membership": Variant(network=NoMembership),
    "membership without ages": Variant(network=AgelessMembership),
    "gBCE": Variant(task=Sampled),
    "taught by its own kind": Variant(teacher="echorank"),
    "taught by EchoMamba4Rec": Variant(teacher="echomamba4rec"),
}

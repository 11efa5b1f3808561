"""The click-through methods by name, all of one width, and the model that each becomes part of.

    x_t = LayerNorm(item + action + gap),   s = interest(x_1..x_n, e),
    logit = b_item + mlp([e, s, s * e])

e is the candidate's embedding, shared with the history. Everything but the interest is equal for
all methods.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.din import DeepInterest
from bench.accuracy.baselines.ctr.eta import HashedSearch
from bench.accuracy.baselines.ctr.interest import Asked, Interest
from bench.accuracy.baselines.ctr.linear_attention import LinearAttention
from bench.accuracy.baselines.ctr.lrea import PositionalLowRank
from bench.accuracy.baselines.ctr.mimn import MemorySlots
from bench.accuracy.baselines.ctr.no_history import NoHistory
from bench.accuracy.baselines.ctr.pooling import MeanPooling
from bench.accuracy.baselines.ctr.sdim import HashCollisions
from bench.accuracy.baselines.ctr.sim import SearchByCategory
from bench.accuracy.baselines.ctr.target_attention import RecentAttention, TargetAttention
from bench.accuracy.ctr.data import CtrBatch
from bench.accuracy.ctr.mood import Apart
from bench.accuracy.ctr.slot_variants import SlotChange
from bench.accuracy.ctr.streaming import Streaming
from model.config import ModelConfig
from model.network.embedding import Embedding
from training.errors import TrainingError

# slots and ring as shipped: 1/50 of dot-product attention at 1,000 events
SHAPE = ModelConfig(width=32, expand=2)
LARGE = dataclasses.replace(SHAPE, slots=16, head_ring=32)
RECENT = 32
HIDDEN = 64

SLOT_CHANGES: Mapping[str, SlotChange] = {
    "undecayed": SlotChange(fading="never"),
    "by-events": SlotChange(fading="events"),
    "time-scales": SlotChange(content=False),
    "relu": SlotChange(phi="relu"),
    "linear": SlotChange(phi="linear"),
    "unmixed": SlotChange(mixing=False),
    "unpunished": SlotChange(penalty=False),
}


def _slots(count: int, change: SlotChange | None = None) -> Callable[[int], Interest]:
    """So many slots alone, without a ring."""
    shape = dataclasses.replace(SHAPE, slots=count)
    return lambda length: Streaming(shape, ring="none", slots=change)  # noqa: ARG005


# name -> the method for histories of at most so many events
METHODS: Mapping[str, Callable[[int], Interest]] = {
    "none": lambda length: NoHistory(),  # noqa: ARG005
    "mean": lambda length: MeanPooling(SHAPE.width),  # noqa: ARG005
    "recent-mean": lambda length: MeanPooling(SHAPE.width, RECENT),  # noqa: ARG005
    "recent-attention": lambda length: RecentAttention(SHAPE.width, RECENT),  # noqa: ARG005
    "attention": lambda length: TargetAttention(SHAPE.width),  # noqa: ARG005
    "attention-aged": lambda length: TargetAttention(SHAPE.width, aged=True),  # noqa: ARG005
    "din": lambda length: DeepInterest(SHAPE.width),  # noqa: ARG005
    "sim-hard": lambda length: SearchByCategory(SHAPE.width),  # noqa: ARG005
    "eta": lambda length: HashedSearch(SHAPE.width),  # noqa: ARG005
    "sdim": lambda length: HashCollisions(SHAPE.width),  # noqa: ARG005
    "linear-attention": lambda length: LinearAttention(SHAPE.width),  # noqa: ARG005
    "lrea": lambda length: PositionalLowRank(SHAPE.width, length),
    "mimn": lambda length: MemorySlots(SHAPE.width),  # noqa: ARG005
    "streaming": lambda length: Streaming(SHAPE),  # noqa: ARG005
    "streaming-slots": lambda length: Streaming(SHAPE, ring="none"),  # noqa: ARG005
    "streaming-items": lambda length: Streaming(SHAPE, ring="items"),  # noqa: ARG005
    "streaming-sequence": lambda length: Streaming(SHAPE, sequence=True),  # noqa: ARG005
    "streaming-large": lambda length: Streaming(LARGE),  # noqa: ARG005
    "apart": lambda length: Apart(SHAPE),  # noqa: ARG005
    "apart-uncounted": lambda length: Apart(SHAPE),  # noqa: ARG005
    "attention-counted": lambda length: TargetAttention(SHAPE.width),  # noqa: ARG005
    "attention-aged-counted": lambda length: TargetAttention(SHAPE.width, aged=True),  # noqa: ARG005
    "streaming-counted": lambda length: Streaming(SHAPE),  # noqa: ARG005
    "none-counted": lambda length: NoHistory(),  # noqa: ARG005
    **{f"slots-{count}": _slots(count) for count in (1, 2, 8, 16, 32)},
    **{f"slots-{name}": _slots(SHAPE.slots, change) for name, change in SLOT_CHANGES.items()},
}
NEEDS_CATEGORIES = frozenset({"sim-hard"})
# item biases start from counts (`bench.accuracy.ctr.counts`)
COUNTED = frozenset({"apart", *(name for name in METHODS if name.endswith("-counted"))})


def method(name: str, length: int) -> Interest:
    """The method called `name`.

    Raises:
        TrainingError: there is none of that name.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TrainingError(
            f"unknown click-through method {name!r}; {hint}known are {sorted(METHODS)}"
        )
    return METHODS[name](length)


class ClickModel(nn.Module):
    """Event inputs, one method, the head."""

    def __init__(
        self, interest: Interest, items: int, actions: tuple[str, ...], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.interest = interest
        config = dataclasses.replace(SHAPE, actions=actions)
        self.embedding = Embedding(config, items)
        self.item_bias = nn.Embedding(items + config.hashed_items, 1)
        nn.init.zeros_(self.item_bias.weight)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(config.width * (1 + 2 * interest.pieces), HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)

    def forward(self, batch: CtrBatch) -> Tensor:
        """Click logits (B, Q)."""
        candidates = self.dropout(self.embedding.item(batch.candidates))  # (B, Q, D)
        asked = Asked(
            x=self.dropout(self.embedding(batch.items, batch.actions, batch.gaps)),
            vectors=self.dropout(self.embedding.item(batch.items)),
            times_ms=batch.times_ms,
            categories=batch.categories,
            candidates=candidates,
            candidate_categories=batch.candidate_categories,
            begins=batch.begins,
            ends=batch.ends,
        )
        interest = self.interest(asked)  # (B, Q, pieces * D)
        repeated = candidates.repeat(1, 1, self.interest.pieces)
        features = torch.cat([candidates, interest, interest * repeated], dim=-1)
        hidden = self.dropout(torch.relu(self.hidden(features)))  # (B, Q, HIDDEN)
        logits: Tensor = self.out(hidden) + self.item_bias(batch.candidates)  # (B, Q, 1)
        mood = self.interest.of_user(asked)
        return logits.squeeze(-1) if mood is None else logits.squeeze(-1) + mood

    def start(self, prior: Tensor) -> None:
        """Let the item biases begin at `prior` (items,); those of unknown items stay at 0."""
        with torch.no_grad():
            self.item_bias.weight[: len(prior), 0] = prior

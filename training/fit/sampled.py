"""Next-item cross-entropy where the catalogue is too large to be summed over at every position.

A step draws candidates C once for all its rows: the events of the batch itself, `drawn` items by
their frequency to the power of POWER, and a part of these evenly, so that none is impossible. How
often an item was drawn, c_v, over how often that was expected, e_v, estimates every sum over the
catalogue without bias:

    sum_v exp z_rv  ~  sum_{v in W} exp z_rv + sum_{v in C - W} c_v / e_v exp z_rv

with e_v = n p_v + drawn q_v of all ways to draw v together (importance sampling: Bengio and Senecal
2008; the log of it is the logQ correction of Yi et al. 2019; together as the balance heuristic of
Veach and Guibas 1995). W is what the row's own window holds: its target, its past, whose items have
membership's extras, and its future. These are no accident: they are there whenever the row is, so
they count as what they are, once, and an item that was drawn besides is not counted again. For the
target this is the mend of arXiv 2507.09331. With weights in the logits the loss is
`softmax.catalogue_loss` over a small catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, pad

from model.arrays import Longs
from model.network.embedding import Sequences
from model.network.membership import Seen
from model.network.network import Network
from training.fit.losses import membership_places
from training.fit.softmax import Guide, Places, catalogue_loss
from training.measure.evaluate import add_membership_at

POWER = 0.75  # of an item's frequency: between evenly and as often as in the log
EVEN = 0.2  # of what is drawn, evenly
DRAWN = 4096  # beside the batch's own events


class Candidates(NamedTuple):
    """C items that a step learns about."""

    items: Tensor  # (C,) ascending item rows
    weight: Tensor  # (C,) log of how often each was drawn over how often that was expected


class Drawing:
    """Draws the candidates of a step, by the frequencies `counts` (V,) of a log."""

    def __init__(self, counts: Longs, drawn: int = DRAWN) -> None:
        total = max(1, int(counts.sum()))
        flat = counts**POWER
        self.items = len(counts)
        self.drawn = drawn
        self.in_batch = counts / total  # (V,) p
        self.share = (1 - EVEN) * flat / max(1.0, flat.sum()) + EVEN / self.items  # (V,) q
        self.share /= self.share.sum()
        self.summed = np.cumsum(self.share)

    def candidates(self, events: Sequences, random: np.random.Generator) -> Candidates:
        """For a batch of windows: what the windows hold, and what is drawn."""
        held = events.items[events.mask & (events.items < self.items)].cpu().numpy()
        by_chance = np.searchsorted(self.summed, random.random(self.drawn) * self.summed[-1])
        found, counts = np.unique(np.concatenate([held, by_chance]), return_counts=True)
        others = len(held) * (1 - 1 / len(events.items))  # of other windows than a row's own
        expected = others * self.in_batch[found] + self.drawn * self.share[found]
        weight = torch.from_numpy(np.log(counts / expected)).float()
        device = events.items.device
        return Candidates(torch.from_numpy(found).to(device), weight.to(device))


def sampled_next_item_loss(
    network: Network,
    encoded: Tensor,
    events: Sequences,
    candidates: Candidates,
    guide: Callable[[Tensor, Seen], Guide] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """`losses.next_item_loss` of encodings (B, L, D), estimated from `candidates` of `events`.

    Of the item table, only the candidates are looked up, so that only they get gradients.
    """
    targets = events.items[:, 1:]  # (B, L-1)
    usable = pad(events.mask[:, 1:] & (targets < network.items), (0, 1))  # (B, L)
    places, seen = membership_places(
        network.membership, events, usable, network.items, encoded.dtype
    )
    target = torch.searchsorted(candidates.items, targets[usable[:, :-1]])
    at = places._replace(item=torch.searchsorted(candidates.items, places.item))
    parts = (
        encoded[usable],
        network.embedding.item(candidates.items),
        network.item_bias[candidates.items],
        at,
        target,
        candidates,
    )
    said = None if guide is None else _among(guide(usable, seen), candidates.items)
    total = sampled_loss(*parts, own_items(events, usable, network.items), said)
    if smoothing:
        share = smoothing * (1.0 if said is None else 1.0 - said.weight)
        total = total + share * _above_mean(*parts, network.items)
    return total / usable.sum().clamp(min=1)


def logits_among(
    network: Network, encoded: Tensor, events: Sequences, items: Tensor, row: Tensor, at: Tensor
) -> Tensor:
    """Next-item logits (m, C) of the candidates `items` (C,), which all events are among, for users
    `row` (m,) at positions `at` (m,) of encodings (B, L, D).
    """
    column = torch.searchsorted(items, events.items)  # (B, L); one more for hashed rows
    logits = encoded[row, at] @ network.embedding.item(items).mT + network.item_bias[items]
    added = add_membership_at(network.membership, pad(logits, (0, 1)), column, row, at)
    return added[:, : len(items)]


def sampled_loss(
    x: Tensor,
    table: Tensor,
    bias: Tensor,
    places: Places,
    target: Tensor,
    candidates: Candidates,
    own: tuple[Tensor, Tensor],
    guide: Guide | None = None,
) -> Tensor:
    """`softmax.plain` over the whole catalogue, estimated from `candidates`, whose rows of the
    catalogue's and the guide's tables and biases are given, and whose numbers name the items.

    `own` are rows (o,) that do not decrease and catalogue items (o,) that these have for sure:
    their targets, and what their places name, among them.
    """
    weight = candidates.weight.to(x.dtype)
    column = torch.searchsorted(candidates.items, own[1])
    row, order = torch.cat([own[0], places.row]).sort(stable=True)
    item = torch.cat([column, places.item])[order]
    once = -weight[column]  # takes the weight out again

    def with_own(extra: Tensor) -> Tensor:
        return torch.cat([once, extra])[order]

    if guide is not None:
        guide = guide._replace(bias=guide.bias + weight, extra=with_own(guide.extra))
    weighed = Places(row, item, with_own(places.extra))
    return catalogue_loss(x, table, bias + weight, weighed, target, guide)


def _among(guide: Guide, items: Tensor) -> Guide:
    return guide._replace(table=guide.table[items], bias=guide.bias[items])


def _above_mean(
    x: Tensor,
    table: Tensor,
    bias: Tensor,
    places: Places,
    target: Tensor,
    candidates: Candidates,
    items: int,
) -> Tensor:
    """How far the targets' logits lie above the mean of the catalogue's `items`, summed over the
    rows: what label smoothing adds (see `softmax`), the mean estimated as well.
    """
    share = candidates.weight.exp().to(x.dtype) / items  # (C,)
    above = torch.linalg.vecdot(x, embedding(target, table) - share @ table).sum()
    above = above + (bias[target] - share @ bias).sum()
    wanted = (places.item == target[places.row]).to(x.dtype)
    return above + ((wanted - 1.0 / items) * places.extra).sum()


def own_items(events: Sequences, usable: Tensor, items: int) -> tuple[Tensor, Tensor]:
    """The catalogue items that the window of each `usable` (B, L) position holds, each once:
    rows (o,), counted over the usable positions, ascending, and items (o,).
    """
    width = events.items.shape[1]
    known = (events.mask & (events.items < items)).flatten()
    window = torch.arange(known.numel(), device=known.device).div(width, rounding_mode="floor")
    pairs = torch.unique(window[known] * items + events.items.flatten()[known])
    count = torch.bincount(pairs.div(items, rounding_mode="floor"), minlength=len(usable))
    first = count.cumsum(0) - count  # (B,) of each window in `pairs`
    of_row = window[usable.flatten()]  # (n,)
    many = count[of_row]
    row = torch.arange(len(of_row), device=known.device).repeat_interleave(many)
    place = torch.arange(len(row), device=known.device) - (many.cumsum(0) - many)[row]
    return row, pairs[first[of_row][row] + place].remainder(items)

"""What training minimises: next-item cross-entropy by the sequence state, the same by the head,
and LREA's non-negativity, each with a weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from model.network.embedding import Sequences
from model.network.membership import Membership, Seen
from training.fit.softmax import Guide, Places, catalogue_loss
from training.measure.targets import Lists


def next_item_loss(
    encoded: Tensor,
    events: Sequences,
    table: Tensor,
    bias: Tensor | None,
    membership: Membership | None,
    guide: Callable[[Tensor, Seen], Guide] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of event t + 1 under the softmax over the
    catalogue at t, over all positions.

    The logits are those of encodings (B, L, D) against table (V, D), plus bias (V,), plus
    membership's biases of what the histories hold. Targets outside the catalogue (hashed rows) and
    padding do not count. A share `smoothing` of each target is spread over the catalogue. `guide`
    is asked what teachers say at the positions that count, (B, L) bool, about the seen items
    (p) there.
    """
    targets = events.items[:, 1:]  # (B, L-1)
    usable = events.mask[:, 1:] & (targets < len(table))
    places, seen = membership_places(
        membership, events, pad(usable, (0, 1)), len(table), encoded.dtype
    )
    said = None if guide is None else guide(pad(usable, (0, 1)), seen)
    total = catalogue_loss(
        encoded[:, :-1][usable], table, bias, places, targets[usable], said, smoothing
    )
    return total / usable.sum().clamp(min=1)


def membership_places(
    membership: Membership | None, events: Sequences, usable: Tensor, items: int, dtype: torch.dtype
) -> tuple[Places, Seen]:
    """What membership adds to the logits at the positions that are `usable` (B, L),
    one row each, and the seen items (p) that it is added to.
    """
    if membership is None:
        none = torch.zeros(0, dtype=torch.int64, device=usable.device)
        return Places(none, none, none.to(dtype)), Seen(none, none, none, none, usable[..., None])
    seen = membership.seen(events.items, events.mask & (events.items < items))
    row = usable.flatten().cumsum(0).sub(1).view_as(usable)  # (B, L)
    seen = seen.only(usable[seen.user, seen.position] & (seen.age < membership.reach))
    bias = membership.bias_at(seen).to(dtype)
    return Places(row[seen.user, seen.position], seen.item, bias), seen


def list_loss(logits: Tensor, lists: Lists) -> Tensor:
    """Mean cross-entropy of the next item under the full logits' softmax over the catalogue,
    estimated from drawn candidates (B, Q, 1 + M) at valid positions.

        loss = -f_y + log(exp f_y + sum_j exp(f_j - log(M q_j)))

    q is the share that item j had in the draw. The sum is right on average whatever q is
    (importance sampling: Bengio and Senecal 2008; Jean et al. 2015, arXiv 1412.2007), so candidates
    may be drawn where the model errs, and the head does not learn that such items are unlikely. It
    is most exact with a q near the softmax itself.
    """
    each = -(logits - lists.expected).log_softmax(dim=-1)[..., 0]  # (B, Q)
    return each.where(lists.valid, 0).sum() / lists.valid.sum().clamp(min=1)

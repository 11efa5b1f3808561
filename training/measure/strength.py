"""How much of the head's correction to the next-item logit held-out clicks bear out.

Head and logit learn from the same clicks, so the head also corrects what the logit only seems to
get wrong on clicks that it has seen. What of that holds elsewhere is found as the weight of a
second model is in stacking (Wolpert 1992), on clicks that neither learned from:

    strength = argmin_s min_t CE(t (n + s (f - n)))

n is the next-item logit, f the full one, t a common sharpness, which sorts nothing and is left to
calibration. A strength of 0 makes the full logit the next-item logit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.network.network import Network
from training.data.sequences import Held
from training.measure.evaluate import Encoder, asks, head_at, next_item_logits_at
from training.measure.targets import Lists, ListSampler

CLICKS_MAX = 2000  # about how many held-out clicks are looked at
CANDIDATES = 63  # beside each of them
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARPNESS = tuple(np.geomspace(0.4, 1.6, 25).tolist())


@torch.inference_mode()
def strength_of(network: Network, held: Held, seed: int) -> float:
    """The strength of STRENGTHS at which held-out clicks are foretold best,
    the least of equal ones; 1 where there are no clicks.
    """
    encoder = Encoder(network)
    sampler = ListSampler(held.histories, network.items)
    random = np.random.default_rng(seed)
    share = CLICKS_MAX / max(1, int(held.tails.sum()))
    costs = torch.zeros(len(STRENGTHS), len(SHARPNESS), dtype=torch.float64)
    for asked in asks(held, network.items, None, share, random):
        row = torch.from_numpy(asked.row).to(encoder.device)
        at = torch.from_numpy(asked.at).to(encoder.device)
        events, encoding = encoder(asked.batch.events)
        logits = next_item_logits_at(network, encoding, events.items, row, at).cpu()  # (m, V)
        lists = sampler.draw(asked.begins, asked.at[:, None], logits, CANDIDATES, random)
        own = logits.gather(1, lists.candidates[:, 0])[:, None]  # (m, 1, 1 + M)
        costs += _costs(own, head_at(encoder, asked, lists), lists)
    if not costs.any():
        return 1.0
    return STRENGTHS[int(costs.amin(dim=1).argmin())]


def _costs(own: Tensor, full: Tensor, lists: Lists) -> Tensor:
    """Summed cross-entropy (strengths, sharpness), as in `training.fit.losses.list_loss`."""
    found = []
    for strength in STRENGTHS:
        logits = torch.lerp(own, full, strength)
        shares = [(t * logits - lists.expected).log_softmax(dim=-1)[..., 0] for t in SHARPNESS]
        found.append(torch.stack([-share.double().sum() for share in shares]))
    return torch.stack(found)

"""Which items follow each other, as vectors: what counts know before any gradient.

With c_ij the number of times that items i and j stand up to STEPS events apart in one history, each
time weighed 1 / distance, in either order,

    m_ij = max(0, log(c_ij C / (c_i c_j)))

is their positive pointwise mutual information, and the D largest of its positive eigenvalues L with
their vectors Q give item i the vector (Q sqrt(L))_i: products of vectors come near to m. Skip-gram
learns the same by gradients (O. Levy, Y. Goldberg. 2014. Neural Word Embedding as Implicit Matrix
Factorization. NIPS). The eigenvectors are those within a random subspace that is multiplied by m a
few times (N. Halko, P. Martinsson, J. Tropp. 2011. Finding Structure with Randomness. SIAM Review).

Letters: n pairs, V catalogue items, D width.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from model.arrays import Doubles, Longs
from training.data.sequences import Histories

STEPS = 3  # largest distance in events
EVENTS_MAX = 10_000_000  # of more, those of every so many-th user are looked at
MORE = 16  # columns of the random subspace beyond D
ROUNDS = 4  # multiplications by m


def transition_vectors(histories: Histories, items: int, width: int, seed: int) -> Tensor:
    """Vectors (V, D) of length 1 for the items that stand beside others, zeros for the rest.

    Equal histories and seeds give equal bytes on one machine.
    """
    first, second, weight = pairs(histories, items)
    information = _information(first, second, weight, items)
    columns = min(width + MORE, items)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(items, columns, generator=generator)  # (V, columns)
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(information @ basis).Q
    core = basis.mT @ (information @ basis)  # (columns, columns)
    values, vectors = torch.linalg.eigh((core + core.mT) / 2)  # ascending
    largest = values[-width:].clamp(min=0).sqrt()
    found = torch.zeros(items, width)
    found[:, : len(largest)] = basis @ vectors[:, -width:] * largest
    return torch.nn.functional.normalize(found)


def pairs(histories: Histories, items: int) -> tuple[Longs, Longs, Doubles]:
    """Items i and j (n,), each pair in both orders, ascending, with its weight c_ij (n,)."""
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    rows = histories.items
    if (every := -(-len(rows) // EVENTS_MAX)) > 1:
        users, rows = (column[users % every == 0] for column in (users, rows))
    keys = []
    weights = []
    for distance in range(1, STEPS + 1):
        earlier = rows[:-distance]
        later = rows[distance:]
        near = (users[:-distance] == users[distance:]) & (earlier != later)
        near &= (earlier < items) & (later < items)
        low, high = np.sort([earlier[near], later[near]], axis=0)
        keys.append(low * items + high)
        weights.append(np.full(int(near.sum()), 1.0 / distance))
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    weight = np.bincount(place, weights=np.concatenate(weights), minlength=len(key)).astype(float)
    both = np.concatenate([key, key % items * items + key // items])
    order = np.argsort(both)
    return both[order] // items, both[order] % items, np.concatenate([weight, weight])[order]


def _information(first: Longs, second: Longs, weight: Doubles, items: int) -> Tensor:
    """The matrix m (V, V), sparse."""
    of_item = np.bincount(first, weights=weight, minlength=items)
    ratio = weight * weight.sum() / (of_item[first] * of_item[second])
    more = ratio > 1.0
    starts = np.searchsorted(first[more], np.arange(items + 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # beta, and unchecked
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(second[more]),
            torch.from_numpy(np.log(ratio[more])).float(),
            (items, items),
        )

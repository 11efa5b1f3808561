"""What every click-through method of the comparison looks like:
a history and candidates to interest vectors.

All methods share the event inputs, the head and the training; only the way from the history to the
interest differs. Letters: B rows, L events of a row, Q impressions that share the row, D width.
Impression (b, q) has the history [begins[b, q], ends[b, q]) of row b: rows are shared because a
user's impressions have most of their history in common.

Cost is counted as multiply-adds a candidate at serving time, at a history of L events. What depends
on the candidate's item alone is stored with the item table, and what depends on the user alone is
computed once a request (or kept in the state), so neither counts; the head, equal for all, does not
count either. Every method gets this benefit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

FLOAT_BYTES = 4
RING_EVENT_BYTES = 6  # item, action and gap bucket of an event, as `model.state` keeps them


class Asked(NamedTuple):
    """Histories and the candidates asked about them."""

    x: Tensor  # (B, L, D) inputs: item, action and gap, normalised
    vectors: Tensor  # (B, L, D) embeddings of the items alone
    times_ms: Tensor  # (B, L)
    categories: Tensor  # (B, L)
    candidates: Tensor  # (B, Q, D)
    candidate_categories: Tensor  # (B, Q)
    begins: Tensor  # (B, Q)
    ends: Tensor  # (B, Q), above `begins`

    def inside(self) -> Tensor:
        """Which events of the row belong to each history, (B, Q, L) bool."""
        position = torch.arange(self.x.shape[1], device=self.x.device)
        return (position >= self.begins[..., None]) & (position < self.ends[..., None])

    def ages(self) -> Tensor:
        """Age of each event in events, 0 for the newest of the history; (B, Q,
        L), below 0 for events after it.
        """
        return self.ends[..., None] - 1 - torch.arange(self.x.shape[1], device=self.x.device)


class Interest(nn.Module, ABC):
    """One method: forward gives (B, Q, pieces * D)."""

    pieces = 1  # interest vectors of width D

    @abstractmethod
    def forward(self, asked: Asked) -> Tensor:
        """Interest of each impression."""

    def of_user(self, asked: Asked) -> Tensor | None:  # noqa: ARG002 - most have none
        """A term (B, Q) of the logit that is the user's alone; None where there is none."""
        return None

    @abstractmethod
    def multiply_adds(self, length: int) -> int:
        """Multiply-adds a candidate at a history of `length` events;
        the formula stands in the method's docstring.
        """

    @abstractmethod
    def state_bytes(self) -> int | None:
        """Bytes of a user between two events, float32;
        None where the whole history is read again each time.
        """

    def penalty(self) -> Tensor:
        """What the method adds to the loss, a scalar."""
        return torch.zeros(())

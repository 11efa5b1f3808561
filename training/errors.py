"""What can go wrong in training."""

from __future__ import annotations

from model.errors import EchoRankError


class DatasetError(EchoRankError):
    """A data set cannot be fetched, read or believed; the message says which, why, and what to do."""


class TrainingError(EchoRankError):
    """A training cannot start, or its result cannot be used."""

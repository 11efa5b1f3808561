"""What can go wrong in training."""

from __future__ import annotations

from model.errors import EchoRankError


class DatasetError(EchoRankError):
    """A data set cannot be fetched, read or believed;
    the message says which, why, and what to do.
    """


class TrainingError(EchoRankError):
    """A training cannot start, or its result cannot be used."""


class DivergedError(TrainingError, ValueError):
    """Weights, losses or scores of a model are no longer numbers;
    its settings do not suit its data.
    """


class StoppedError(TrainingError):
    """Somebody stopped a training; the message says where it is kept."""

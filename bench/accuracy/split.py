"""A data set, divided by its protocol or in time, and what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.config import ModelConfig
from training.data import datasets, protocols
from training.data.clicklog import ClickLog
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import DatasetError

HASHED = ModelConfig().hashed_items


@dataclass(frozen=True)
class Split:
    """A divided data set."""

    vocabulary: Vocabulary
    training: Histories
    validation: Held
    test: Held
    until_ms: int | None = None  # see `Division`
    newcomers: Held | None = None  # asked apart: users who came after `until_ms`
    label: str = ""  # what stands behind the data set's name

    @classmethod
    def of(cls, log: ClickLog, tested: int = 1) -> Split:
        """By RecBole's protocol, or with more events of each user to test
        on: each from all before it.
        """
        return cls(*protocols.leave_one_out(log, hashed=HASHED, tested=tested))

    @classmethod
    def by(cls, data: str, log: ClickLog, protocol: str | None = None) -> Split:
        """By the protocol of the data set called `data`, or by `time`.

        Raises:
            DatasetError: no such protocol, or the set has no time line.
        """
        if protocol is not None:
            return cls._by_time(data, log, protocol)
        sessions = datasets.tested_sessions(data)
        if sessions is None:
            return cls.of(log)
        return cls(*protocols.by_sessions(log, hashed=HASHED, tested=sessions))

    @classmethod
    def _by_time(cls, data: str, log: ClickLog, protocol: str) -> Split:
        if protocol != "time":
            raise DatasetError(
                f"unknown protocol {protocol!r}; known is 'time', beside each data set's own"
            )
        if data in datasets.DATASETS and not datasets.DATASETS[data].global_time:
            timed = [each.name for each in datasets.DATASETS.values() if each.global_time]
            raise DatasetError(
                f"{data} has no time line that all its users share; --protocol time is for "
                f"{', '.join(timed)}"
            )
        division = protocols.by_time(log, hashed=HASHED)
        assert division.until_ms is not None
        known, newcomers = protocols.parted(division.test, division.until_ms)
        return cls(*division._replace(test=known), newcomers=newcomers, label=", by time")

    def asked(self) -> Iterator[tuple[str, Held]]:
        """What is to be asked, each with what stands behind the data set's name in its rows."""
        yield self.label, self.test
        if self.newcomers is not None and len(self.newcomers.targets(self.items)):
            yield f"{self.label}, new users", self.newcomers

    def known(self) -> Histories:
        """All events from before the test: a model learns from some of them and is chosen by the
        others, which come later, of the same users or of sessions of their own.
        """
        validated = self.validation.histories
        if set(self.training.users) <= set(validated.users):
            return validated
        return Histories(
            users=self.training.users + validated.users,
            items=np.concatenate([self.training.items, validated.items]),
            actions=np.concatenate([self.training.actions, validated.actions]),
            times_ms=np.concatenate([self.training.times_ms, validated.times_ms]),
            starts=np.concatenate(
                [self.training.starts, self.training.starts[-1] + validated.starts[1:]]
            ),
        )

    @property
    def items(self) -> int:
        """V."""
        return len(self.vocabulary.items)

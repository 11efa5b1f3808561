"""Who trains: one process alone, or several that average their gradients.

With n workers every step averages n batches, so an epoch has 1/n of the steps and a batch is n
times as large. The learning rate stays as it is set. For the same steps as one worker divide
`tokens` by n; to keep `tokens`, which keeps GPUs busy, a learning rate up to sqrt(n) times as high
suits Adam (Malladi et al., arXiv 2205.10287).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.data.sequences import Windows

T = TypeVar("T")


class Workers(Protocol):
    """What a training loop asks of those it trains with;
    everybody must ask the same things in the same order.
    """

    rank: int  # which one this is, from 0
    size: int

    def own(self, random: np.random.Generator) -> np.random.Generator:
        """A generator for what may differ between workers, such as negatives."""
        ...

    def part(self, plan: Sequence[Windows]) -> Sequence[Windows]:
        """This worker's batches of an epoch; all workers get equally many."""
        ...

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over workers into every gradient."""
        ...

    def mean(self, values: Tensor) -> Tensor:
        """The mean over workers of some numbers (n,)."""
        ...

    def first(self, ask: Callable[[], T]) -> T:
        """The first worker's answer, which alone is asked."""
        ...

    def gather(self, own: T) -> list[T]:
        """What every worker says, by rank."""
        ...


class Alone:
    """One worker."""

    rank = 0
    size = 1

    def own(self, random: np.random.Generator) -> np.random.Generator:
        """The same generator."""
        return random

    def part(self, plan: Sequence[Windows]) -> Sequence[Windows]:
        """All of it."""
        return plan

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Nothing to do."""

    def mean(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def first(self, ask: Callable[[], T]) -> T:
        """The answer."""
        return ask()

    def gather(self, own: T) -> list[T]:
        """What it says."""
        return [own]


class Group:
    """One of the processes of torch.distributed's default group, gloo or NCCL."""

    def __init__(self, seed: int) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.seed = seed

    def own(self, random: np.random.Generator) -> np.random.Generator:  # noqa: ARG002 - stays equal on all workers
        """A generator of this worker's; dropout, too, differs from here on."""
        torch.manual_seed(self.seed + 1 + self.rank)
        return np.random.default_rng([self.seed, 1 + self.rank])

    def part(self, plan: Sequence[Windows]) -> Sequence[Windows]:
        """Every n-th batch; a plan that cannot be divided begins again,
        so that a few batches come twice.
        """
        length = -(-len(plan) // self.size)
        return [plan[(self.rank + step * self.size) % len(plan)] for step in range(length)]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """All gradients as one message."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """By an all-reduce."""
        dist.all_reduce(values)
        return values / self.size

    def first(self, ask: Callable[[], T]) -> T:
        """Asked on the first and sent to all."""
        answers: list[T | None] = [ask() if self.rank == 0 else None]
        dist.broadcast_object_list(answers)
        answer = answers[0]
        assert answer is not None
        return answer

    def gather(self, own: T) -> list[T]:
        """By an all-gather of pickles."""
        said: list[T | None] = [None] * self.size
        dist.all_gather_object(said, own)
        return [each for each in said if each is not None]

"""Ray as the processes see it, and the one way from one process to another.

A method stands for itself, with its name and its signature, so mypy checks both:

    await call(ray, "shard-0", ShardProcess.apply_batches, batches, feed)

What can be called is what the process lists in its `methods`; arguments go by position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, TypeVarTuple, overload

from ray.exceptions import RayError, RayTaskError

from actors.errors import EchoRankError, ShardUnavailable

log = logging.getLogger(__name__)

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Ray(Protocol):
    """The named actors of one system, and what Ray knows of this process."""

    @property
    def call_s(self) -> float:
        """A call that takes longer counts as failed, where the caller names no other time."""

    @property
    def restarted(self) -> bool:
        """Whether Ray has started this process in place of one that ended."""

    @property
    def node(self) -> str:
        """The id of the node of this process."""

    def ask(self, actor: str, method: str, args: tuple[Any, ...]) -> Awaitable[Any]:
        """The answer of an actor to come; awaiting it raises RayError.

        Raises:
            ValueError: there is no actor of that name.
        """

    def create(self, name: str, build: Callable[[], Awaitable[Any]], node: str = "") -> Any:
        """Start an actor on `node`, if that has room; its handle.

        Raises:
            ConfigError: there is an actor of that name.
            RayError: Ray refuses.
        """

    def has(self, name: str) -> bool:
        """Whether there is an actor of that name."""

    def kill(self, name: str) -> None:
        """End an actor for good; ValueError if there is none of that name."""

    def nodes(self) -> frozenset[str]:
        """The live nodes that have processors to give."""

    def end(self, error: BaseException) -> None:
        """End this process at once; Ray starts another in its place."""


@overload
async def call(
    ray: Ray,
    actor: str,
    method: Callable[[Any, *Ts], Coroutine[Any, Any, R]],
    *args: *Ts,
    timeout_s: float | None = None,
) -> R: ...


@overload
async def call(
    ray: Ray,
    actor: str,
    method: Callable[[Any, *Ts], R],
    *args: *Ts,
    timeout_s: float | None = None,
) -> R: ...


async def call(
    ray: Ray,
    actor: str,
    method: Callable[[Any, *Ts], Any],
    *args: *Ts,
    timeout_s: float | None = None,
) -> Any:
    """One method of a named actor; within `ray.call_s` where no time is given.

    Raises:
        EchoRankError: what the method raised.
        ShardUnavailable: the actor is not there, is restarting, does not answer in time, or has a
            defect.
    """
    patience_s = ray.call_s if timeout_s is None else timeout_s
    try:
        async with asyncio.timeout(patience_s):
            return await ray.ask(actor, method.__qualname__, args)
    except RayTaskError as error:
        if isinstance(error.cause, EchoRankError):
            raise error.cause from None
        log.exception("%s failed in %s", method.__name__, actor)
        raise ShardUnavailable(
            f"{actor} failed in {method.__name__}: {error.cause!r}; its log has the traceback"
        ) from error
    except (RayError, ValueError, TimeoutError) as error:
        # asking raises ValueError for an unknown name
        reason = (
            f"{type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else f'none in {patience_s:g} s'}"
        )
        raise ShardUnavailable(
            f"{actor} does not answer {method.__name__} ({reason}); ask again, Ray restarts it"
        ) from error

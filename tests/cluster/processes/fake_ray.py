"""A Ray whose actors are objects of the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class FakeRay:
    """Asks one function, whatever the actor; `ended` says why this process ended."""

    node = "n"

    def __init__(self, answer: Callable[..., Awaitable[Any]], *, restarted: bool = False) -> None:
        self._answer = answer
        self.restarted = restarted
        self.call_s = 30.0
        self.ended: list[BaseException] = []

    def ask(self, actor: str, method: str, args: tuple[Any, ...]) -> Awaitable[Any]:
        """The answer to come."""
        return self._answer(actor, method, *args)

    def create(self, name: str, build: Callable[[], Awaitable[Any]], node: str = "") -> Any:
        """None is started here."""
        raise AssertionError(f"{name} is not to be started on {node!r} by {build}")

    def has(self, name: str) -> bool:
        """Every actor is there."""
        return bool(name)

    def kill(self, name: str) -> None:
        """None is ended here."""
        raise AssertionError(f"{name} is not to be killed")

    def nodes(self) -> frozenset[str]:
        """One."""
        return frozenset({self.node})

    def end(self, error: BaseException) -> None:
        """Note why."""
        self.ended.append(error)


async def nobody(actor: str, method: str, *_: Any) -> Any:
    """For who does not ask."""
    raise AssertionError(f"{actor} is not to be asked {method}")

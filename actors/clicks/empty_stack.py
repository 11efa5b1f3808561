"""Calls whose outcome must not depend on how deep their caller's stack is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def on_empty_stack(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The call's result or error, made in a thread of its own:
    for a call that the caller's stack has no room for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="room") as thread:
        return thread.submit(call, *args, **kwargs).result()

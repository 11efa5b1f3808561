"""What EchoRank needs of Ray and Ray offers nobody: all of it is in this file.

Nothing public does it in Ray 2.60, so pyproject.toml admits no other release: a newer one is
admitted once the tests that start Ray pass with it.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import ray
from ray._private import utils
from ray._private.node import Node
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def with_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The option of `ray.init` that sets settings of Ray's core;
    variables of the environment, the other way, would reach the actors' own children as well.
    """
    return {"_system_config": dict(settings)}


def beside(node: str) -> NodeAffinitySchedulingStrategy:
    """On that node, or wherever there is room if it has none;
    without the spill, a node that is booked out would be waited for.
    """
    return NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=True)


def end_half_started(trace: TracebackType | None) -> None:
    """End the processes of a node that did not start in time:
    Ray leaves them running, known to its frames alone.
    """
    for frame, _ in traceback.walk_tb(trace):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            return


@contextmanager
def without_handlers() -> Iterator[None]:
    """Keep Ray from setting handlers of SIGTERM while a handler of ours stands there.

    Those in Python are set by one function. Ray's core sets one without Python's knowledge when it
    connects, which prints a stack before it asks ours: setting ours once more takes its place. A
    blocked signal would do as well, but Ray's own processes would inherit that it is blocked.
    """
    ours = signal.getsignal(signal.SIGTERM)
    if not callable(ours) or threading.current_thread() is not threading.main_thread():
        yield
        return
    core: Any = ray._raylet
    set_handler = utils.set_sigterm_handler
    core_worker = core.CoreWorker

    def connect(*arguments: Any, **options: Any) -> Any:
        connected = core_worker(*arguments, **options)
        signal.signal(signal.SIGTERM, ours)
        return connected

    utils.set_sigterm_handler = lambda _: None
    core.CoreWorker = connect
    try:
        yield
    finally:
        utils.set_sigterm_handler = set_handler
        core.CoreWorker = core_worker

"""Ray, joined or started, with the environment that all actors get."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import utils

from cluster.lifecycle import interrupts
from cluster.settings.config import RaySettings
from training import patient_ray

ROOT = Path(__file__).parents[2]
OBJECT_STORE_BYTES = 128 << 20  # batches are small and short-lived
# Temporaries of a score are larger than malloc keeps by default: it would fault them in anew every
# time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
# Settings of Ray's: its niceness of 15 lets any other process go before a score, and its control
# store keeps an entry of some kB for each of the last 100,000 calls, which nobody reads here; 0
# reports none.
OF_RAY = {"worker_niceness": 0, "task_events_report_interval_ms": 0}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def start_ray(settings: RaySettings, *, show_logs: bool) -> None:
    """Join the cluster at `settings.address`,
    or start a Ray of our own; a slow start is tried again.

    Handlers of SIGTERM and Ctrl-C that the process has set stay, and wait until Ray has started:
    what it has begun could not be ended before, and Ray's own handlers would end this process in
    the midst of what it does.
    """
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_system_config": OF_RAY,
    }
    if settings.cpus:
        local["num_cpus"] = settings.cpus
    with interrupts.held_back() as held, _without_rays_handlers():

        def init() -> Any:
            held.check()  # before another try
            return ray.init(
                address=settings.address or "local",
                namespace=settings.namespace,
                runtime_env={"env_vars": {"PYTHONPATH": python_path, **ONE_THREAD, **KEEP_MEMORY}},
                log_to_driver=show_logs,
                logging_level=logging.ERROR,
                **({} if settings.address else local),
            )

        patient_ray.start(init)


@contextmanager
def _without_rays_handlers() -> Iterator[None]:
    """Keep Ray from setting handlers of SIGTERM while a handler of ours stands there.

    Those in Python are set by one function. Ray's core sets one without Python's knowledge when it
    connects, which prints a stack before it asks ours: setting ours once more takes its place.
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

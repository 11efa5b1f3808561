"""Ray, joined or started, with the environment that all actors get."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import ray

from cluster.lifecycle import interrupts
from cluster.settings.serving import RaySettings
from training import patient_ray, ray_private

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
        **ray_private.with_settings(OF_RAY),
    }
    if settings.cpus:
        local["num_cpus"] = settings.cpus
    with interrupts.held_back() as held, ray_private.without_handlers():

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

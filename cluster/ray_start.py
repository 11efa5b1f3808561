"""Ray, joined or started, with the environment that all actors get."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path
from typing import Any

import ray

from cluster.config import RaySettings

ROOT = Path(__file__).parents[1]
RAY_SLOW = "timed out during startup"
OBJECT_STORE_BYTES = 128 << 20  # batches are small and short-lived
# Temporaries of a score are larger than malloc keeps by default: it would fault them in anew every time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

log = logging.getLogger(__name__)


def start_ray(settings: RaySettings, *, show_logs: bool) -> None:
    """Join the cluster at `settings.address`, or start a Ray of our own; a slow start gets a second try."""
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_system_config": {"worker_niceness": 0},  # Ray's 15 lets any other process go before a score
    }
    if settings.cpus:
        local["num_cpus"] = settings.cpus
    init = functools.partial(
        ray.init,
        address=settings.address or "local",
        namespace=settings.namespace,
        runtime_env={"env_vars": {"PYTHONPATH": python_path, **ONE_THREAD, **KEEP_MEMORY}},
        log_to_driver=show_logs,
        logging_level=logging.ERROR,
        **({} if settings.address else local),
    )
    try:
        init()
    except Exception as error:
        if RAY_SLOW not in str(error):  # Ray has no narrower class for it
            raise
        log.warning("Ray's own processes did not start within 30 s, which a busy machine can cause; trying once more")
        ray.shutdown()
        init()

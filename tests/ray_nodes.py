"""Several Ray nodes on one machine, each with an address of its own in 127.0.0.0/8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray.cluster_utils import Cluster

from training import patient_ray

STORE_BYTES = 80 << 20


def head_node(directory: Path, **system: Any) -> Cluster:
    """A head without processors, which keeps its files in `directory`;
    `system` are settings of Ray's own.
    """
    # a cluster's address is written there
    Path(get_default_ray_temp_dir()).mkdir(parents=True, exist_ok=True)
    head = {
        "num_cpus": 0,
        "node_ip_address": ray.util.get_node_ip_address(),
        "include_dashboard": False,
        "temp_dir": str(directory),  # short: paths of sockets are
        "object_store_memory": STORE_BYTES,
        "_system_config": system,
    }
    return patient_ray.start(lambda: Cluster(initialize_head=True, head_node_args=head))


def add_node(cluster: Cluster, address: str, cpus: int) -> Any:
    """A node that takes actors."""
    options = {"num_cpus": cpus, "node_ip_address": address, "object_store_memory": STORE_BYTES}
    return patient_ray.start(lambda: cluster.add_node(**options))

"""Ray's way to start a process, beside a gRPC server in the same process."""

from __future__ import annotations

import os
import subprocess
import sys


def test_what_ray_forks_beside_a_grpc_server_comes_to_its_exec() -> None:
    """With gRPC's own handlers of forks, one in twenty aborts:
    a control store or a node that is never up.
    """
    environ = {
        name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"
    }
    command = [sys.executable, "-m", "tests.cluster.lifecycle.forking", "200"]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "{0: 200}"

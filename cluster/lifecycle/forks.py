"""What gRPC does when a process forks: nothing, because ours exec at once.

Ray starts each of its processes by a fork, a function of its own, then an exec. gRPC's handlers of
forks start threads in between, on file descriptors that the same fork closes: beside a gRPC server
one start in twenty, or more, dies by an abort, which Ray sees after 30 s or never (gRPC issue
43055). Without them none does (`tests/cluster/lifecycle/test_forks.py`).
"""

from __future__ import annotations

import os


def only_to_exec() -> None:
    """Turn gRPC's handlers of forks off, here and in all children;
    gRPC reads this when it is first imported.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

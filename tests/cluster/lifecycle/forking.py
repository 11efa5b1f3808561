"""Forks beside a gRPC server, as Ray does:
`python -m tests.cluster.lifecycle.forking TIMES` writes exit statuses.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter

from cluster.lifecycle import forks


async def exits(times: int) -> Counter[int]:
    """How often which exit status came back."""
    import grpc.aio  # noqa: PLC0415 (after the setting that it reads)

    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), timeout=30)
        # A function before the exec makes a fork, with its handlers; without one Python uses vfork,
        # without any.
        found = Counter(
            subprocess.run(["/bin/true"], preexec_fn=lambda: None, check=False).returncode
            for _ in range(times)
        )
    await server.stop(None)
    return found


if __name__ == "__main__":
    forks.only_to_exec()
    sys.stdout.write(f"{dict(asyncio.run(exits(int(sys.argv[1]))))}\n")

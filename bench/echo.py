"""The floor of gRPC in Python: a server that answers `Score` with
ready-made bytes of the right size.

Run as a process of its own, `python -m bench.echo --candidates 500`; prints its address and serves
until SIGTERM. It neither parses the request nor computes: what a client measures against it is
transport alone.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import grpc.aio
import typer

from bench.report import ROOT
from rpc.echorank_pb2 import Level, Origin, ScoreResponse


def answer(candidates: int) -> bytes:
    """A serialised response as large as a real one for `candidates` items."""
    origin = Origin(
        arm="main",
        model_version="0123456789abcdef",
        partition=7,
        offset=1_000_000,
        state_age_ms=1000,
        level=Level.LEVEL_FULL,
        score_id="0123456789abcdef0123456789abcdef",
    )
    return ScoreResponse(origin=origin, probabilities=[0.5] * candidates).SerializeToString()


async def serve(candidates: int) -> None:
    """Answer every Score request with the same bytes until SIGTERM or SIGINT."""
    ready_made = answer(candidates)

    async def score(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        del request, context
        return ready_made

    server = grpc.aio.server()
    handlers = {"Score": grpc.unary_unary_rpc_method_handler(score)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("echorank.v1.Scoring", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
    await server.stop(grace=None)


@contextmanager
def running(candidates: int) -> Iterator[str]:
    """An echo server in its own process until the end of the `with`; its address."""
    command = [sys.executable, "-m", "bench.echo", "--candidates", str(candidates)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main(
    candidates: Annotated[int, typer.Option(help="Size of the answers, in probabilities.")] = 100,
) -> None:
    """Serve ready-made Score answers on a free port; the address is the first line printed."""
    asyncio.run(serve(candidates))


if __name__ == "__main__":
    typer.run(main)

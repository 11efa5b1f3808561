"""Load generators for the Score call: ghz where there is one, else a Python client.

Both run a closed loop: each of `concurrency` workers sends its next request when it has the last
answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import grpc
import grpc.aio
import numpy as np
from google.protobuf.json_format import MessageToDict

from bench.report import ROOT
from rpc.echorank_pb2 import ScoreRequest, ScoreResponse

PROTO = "proto/echorank.proto"
CALL = "echorank.v1.Scoring/Score"
ScoreCall = Callable[[ScoreRequest], Awaitable[ScoreResponse]]


class Load(NamedTuple):
    """What one run of a driver saw."""

    rps: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int


class Driver(Protocol):
    """Sends Score requests to an address for a while."""

    name: str

    def run(
        self, address: str, requests: Sequence[ScoreRequest], concurrency: int, seconds: float
    ) -> Load:
        """Send `requests` round robin; latencies are those of successful answers."""


class Ghz:
    """The ghz load generator: so cheap that it measures the server and hardly itself."""

    def __init__(self, binary: str) -> None:
        self.binary = binary
        version = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=True, timeout=10
        )
        self.name = f"ghz {(version.stdout or version.stderr).strip()}"

    def run(
        self, address: str, requests: Sequence[ScoreRequest], concurrency: int, seconds: float
    ) -> Load:
        """Run ghz once over one connection a worker."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as data:
            json.dump([MessageToDict(request) for request in requests], data)
            data.flush()
            command = [
                self.binary,
                "--insecure",
                "--proto",
                PROTO,
                "--call",
                CALL,
                "--data-file",
                data.name,
            ]
            command += ["--concurrency", str(concurrency), "--connections", str(concurrency)]
            command += [
                "--duration",
                f"{seconds}s",
                "--duration-stop",
                "wait",
                "--format",
                "json",
                address,
            ]
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds + 60
            )
        if done.returncode:
            raise RuntimeError(
                f"ghz ended with {done.returncode}: {done.stderr.strip()}; command: {command}"
            )
        return parse_ghz(done.stdout)


def parse_ghz(text: str) -> Load:
    """What `ghz --format json` printed; RuntimeError if no request succeeded."""
    found = json.loads(text)
    good = found["statusCodeDistribution"].get("OK", 0)
    if not good:
        raise RuntimeError(
            f"no request succeeded: {found['errorDistribution']}; is the address right and the "
            "system up?"
        )
    latency_ms = {
        point["percentage"]: point["latency"] / 1e6 for point in found["latencyDistribution"]
    }
    return Load(
        good / (found["total"] / 1e9),
        latency_ms[50],
        latency_ms[99],
        found["count"],
        found["count"] - good,
    )


class PythonClient:
    """grpc.aio in this process; on small machines its own cost is part of what it measures."""

    name = "python grpc.aio"

    def run(
        self, address: str, requests: Sequence[ScoreRequest], concurrency: int, seconds: float
    ) -> Load:
        """Run `concurrency` workers in one event loop."""
        return asyncio.run(self._run(address, requests, concurrency, seconds))

    async def _run(
        self, address: str, requests: Sequence[ScoreRequest], concurrency: int, seconds: float
    ) -> Load:
        latencies: list[float] = []
        errors = 0

        async def worker(number: int, score: ScoreCall, until: float) -> None:
            nonlocal errors
            at = number
            while (started := time.perf_counter()) < until:
                try:
                    await score(requests[at % len(requests)])
                    latencies.append(time.perf_counter() - started)
                except grpc.aio.AioRpcError:
                    errors += 1
                at += concurrency

        async with grpc.aio.insecure_channel(address) as channel:
            score = channel.unary_unary(
                f"/{CALL}",
                request_serializer=ScoreRequest.SerializeToString,
                response_deserializer=ScoreResponse.FromString,
            )
            began = time.perf_counter()
            await asyncio.gather(*(worker(n, score, began + seconds) for n in range(concurrency)))
        if not latencies:
            raise RuntimeError(f"no request to {address} succeeded, {errors} failed")
        p50, p99 = np.percentile(np.array(latencies) * 1000, (50, 99))
        rate = len(latencies) / (time.perf_counter() - began)
        return Load(rate, float(p50), float(p99), len(latencies) + errors, errors)


def choose(environ: Mapping[str, str] = os.environ) -> Driver:
    """Ghz from PATH or $GHZ, else the Python client."""
    for binary in (shutil.which("ghz", path=environ.get("PATH", "")), environ.get("GHZ")):
        if binary and Path(binary).is_file() and os.access(binary, os.X_OK):
            return Ghz(binary)
    return PythonClient()

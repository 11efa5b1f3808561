"""What a simulated process has of the world: the ports of `cluster.wiring.world`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from actors.locks import FairLock, Locks
from tests.simulation.simulated import blocking
from tests.simulation.simulated.kafka_log import SimAdmin, SimLog, SimMarks, SimSink, SimTopic
from tests.simulation.simulated.loop import PROCESS, VirtualLoop
from tests.simulation.simulated.network import Network, SimChannel, SimServer

# how often somebody else runs before a store's lock is taken, and for how long
PREEMPTED = 0.05
PREEMPTED_S = 0.005


class PreemptedLock(FairLock):
    """Others may run before it is taken, as with real threads."""

    def __enter__(self) -> None:
        if (process := PROCESS.get(None)) and process.random.random() < PREEMPTED:
            blocking.wait(PREEMPTED_S * process.random.random())
        super().__enter__()


LOCKS = Locks(plain=blocking.Lock, fair=lambda: PreemptedLock(blocking.Lock))


def token(count: int) -> str:
    """Random bytes of the process that asks, in hexadecimal digits."""
    return PROCESS.get().random.randbytes(count).hex()


class SimKafka:
    """Clients of one topic."""

    def __init__(self, topic: SimTopic, on_commit: Callable[[int, int], None]) -> None:
        self._topic = topic
        self._on_commit = on_commit

    def log(self, _access: Any, **_: Any) -> SimLog:
        """A reader."""
        return SimLog(self._topic, self._on_commit)

    def sink(self, _access: Any, **_: Any) -> SimSink:
        """A writer of dead letters."""
        return SimSink(self._topic)

    def marks(self, _access: Any, **_: Any) -> SimMarks:
        """What is known of them."""
        return SimMarks(self._topic)

    def admin(self, _access: Any) -> SimAdmin:
        """Who asks where the log ends."""
        return SimAdmin(self._topic)


class SimRpc:
    """gRPC over the simulated network."""

    def __init__(self, loop: VirtualLoop, network: Network) -> None:
        self._loop = loop
        self._network = network

    def open_channel(self, address: str, *_: Any) -> SimChannel:
        """A channel to an address."""
        return SimChannel(self._loop, self._network, address)

    def server(self, add_services: Callable[[Any], None], *_: Any) -> SimServer:
        """A server that does not listen yet."""
        return SimServer(self._network, add_services)


class SimThreads:
    """Tasks of the event loop, and greenlets for what blocks."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def executor(self, _count: int, _name: str) -> Any:
        """None: the loop runs blocking code in its own way, whichever executor it is given."""

    def repeat(
        self, work: Callable[[], None], interval_s: float, _name: str
    ) -> Callable[[], object]:
        """Work as long as the process lives."""

        async def run() -> None:
            while True:
                pause = self._loop.create_future()
                self._loop.call_later(interval_s, pause.set_result, None)
                await pause
                await asyncio.to_thread(work)

        return self._loop.create_task(run()).cancel


# Logs are those of one process, the judge's, and nobody scrapes metrics.
HOST = SimpleNamespace(
    set_up_logs=lambda *_: None,
    address=lambda: "simulated",
    export=lambda *_: f"{PROCESS.get()}:metrics",
    export_control_store=lambda _: None,
    give_way=lambda _: None,
    answer_promptly=lambda: None,
)

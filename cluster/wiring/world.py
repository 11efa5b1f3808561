"""The world in which a system runs, as ports: the real one is in `cluster.wiring.real`, a simulated
one in the tests. Builders take it, and nothing of the product reaches around it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from actors.calls.channels import OpenChannel
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.clicks.dead_letter import LetterMarks, RecordSink
from actors.clock import Clock
from actors.files import OpenRoot
from actors.locks import Locks
from actors.state.maker import OpenCold
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.log import KafkaLog
from cluster.processes.ray_port import Ray
from cluster.settings.config import Settings
from cluster.settings.scale import FULL, Scale
from cluster.settings.serving import MonitoringSettings
from monitoring.metrics import Metrics

T = TypeVar("T")


class Kafka(Protocol):
    """Clients of Kafka; each raises BrokerUnavailable where nobody answers."""

    def log(
        self,
        access: KafkaAccess,
        *,
        topic: str,
        poll_timeout_ms: int,
        records_per_poll_max: int,
        group_id: str | None = None,
        fetch_bytes_min: int = 1,
        topic_id: str | None = None,
    ) -> KafkaLog:
        """A reader of the clicks topic."""

    def sink(self, access: KafkaAccess, **options: Any) -> RecordSink:
        """A writer."""

    def marks(self, access: KafkaAccess, *, topic: str, group_id: str) -> LetterMarks:
        """What is known of the dead letters that are written."""

    def admin(self, access: KafkaAccess) -> KafkaAdmin:
        """Who asks about topics; a context."""


class Rpc(Protocol):
    """gRPC, from both ends."""

    @property
    def open_channel(self) -> OpenChannel:
        """Makes channels to shards."""

    def server(
        self,
        add_services: Callable[[Any], None],
        requests: RequestInterceptor,
        message_bytes_max: int,
        services: Sequence[str],
    ) -> RpcServer:
        """A server that does not listen yet."""


class Threads(Protocol):
    """Threads, as far as a process starts some of its own."""

    def executor(self, count: int, name: str) -> Executor:
        """So many threads for blocking work."""

    def repeat(self, work: Callable[[], None], interval_s: float, name: str) -> Callable[[], None]:
        """Do the work again and again, as long as the process lives, or until the call of what
        this returns.
        """


class Host(Protocol):
    """The process and the machine that a builder runs on."""

    def set_up_logs(self, settings: MonitoringSettings, actor: str) -> None:
        """Log under the actor's name."""

    def address(self) -> str:
        """The machine's address, for other nodes."""

    def export(
        self, metrics: Metrics, host: str, advertised_host: str, options: Mapping[str, Any]
    ) -> str:
        """Serve the metrics as long as the process lives; the address."""

    def export_control_store(self, metrics: Metrics) -> None:
        """Show the memory of Ray's control store, if it runs here."""

    def give_way(self, nice: int) -> None:
        """Let other processes go before this one."""

    def answer_promptly(self) -> None:
        """Keep Python from holding up a process that is built and answers requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What one process has of the world."""

    # the world of another process, from within that one; Ray carries it there
    make: Callable[[Settings], World]
    clock: Clock
    locks: Locks
    threads: Threads
    ray: Ray
    kafka: Kafka
    rpc: Rpc
    host: Host
    open_root: OpenRoot
    open_cold: OpenCold
    token: Callable[[int], str]  # so many random bytes, in hexadecimal digits
    scale: Scale = FULL

    def elsewhere(
        self, build: Callable[..., Awaitable[T]], settings: Settings, *args: Any
    ) -> Callable[[], Awaitable[T]]:
        """`build`, to be called in another process, with the world of that one."""
        return functools.partial(_build, self.make, build, settings, *args)


async def _build(
    make: Callable[[Settings], World],
    build: Callable[..., Awaitable[T]],
    settings: Settings,
    *args: Any,
) -> T:
    return await build(make(settings), settings, *args)

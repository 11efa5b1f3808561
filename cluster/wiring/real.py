"""The real world: the only place of the product that makes clients, clocks and file systems."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import ray

from actors.calls.channels import channel
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.clock import SystemClock
from actors.files import open_root
from actors.locks import THREADS
from actors.state.cold import ColdDirectory
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin, KafkaSink
from cluster.kafka.letter_marks import KafkaLetterMarks
from cluster.kafka.log import KafkaLog
from cluster.processes.promptness import answer_promptly
from cluster.processes.ray_calls import RealRay
from cluster.settings.config import Settings
from cluster.settings.serving import MonitoringSettings
from cluster.wiring.world import World
from monitoring import logs
from monitoring.control_store import ControlStore
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics


def real(settings: Settings) -> World:
    """The world of this process; nothing is connected yet."""
    return World(
        make=real,
        clock=SystemClock(),
        locks=THREADS,
        threads=RealThreads(),
        ray=RealRay(settings.ray.namespace),
        kafka=RealKafka(),
        rpc=RealRpc(),
        host=RealHost(),
        open_root=open_root,
        open_cold=ColdDirectory,
        token=secrets.token_hex,
    )


class RealKafka:
    """Clients of kafka-python."""

    def log(self, access: KafkaAccess, **options: Any) -> KafkaLog:
        """A reader of a topic."""
        return KafkaLog(access, **options)

    def sink(self, access: KafkaAccess, **options: Any) -> KafkaSink:
        """A writer."""
        return KafkaSink(access, **options)

    def marks(self, access: KafkaAccess, *, topic: str, group_id: str) -> KafkaLetterMarks:
        """What a group has committed about a topic."""
        return KafkaLetterMarks(access, topic=topic, group_id=group_id)

    def admin(self, access: KafkaAccess) -> KafkaAdmin:
        """Who asks about topics."""
        return KafkaAdmin(access)


class RealRpc:
    """gRPC over sockets."""

    open_channel = staticmethod(channel)

    def server(
        self,
        add_services: Callable[[Any], None],
        requests: RequestInterceptor,
        message_bytes_max: int,
        services: Sequence[str],
    ) -> RpcServer:
        """A server that does not listen yet."""
        return RpcServer(add_services, requests, message_bytes_max, services)


class RealThreads:
    """Threads of the operating system."""

    def executor(self, count: int, name: str) -> Executor:
        """So many threads for blocking work."""
        return ThreadPoolExecutor(count, thread_name_prefix=name)

    def repeat(self, work: Callable[[], None], interval_s: float, name: str) -> Callable[[], None]:
        """Work in a thread that ends with the process, or after the round in progress."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(interval_s):
                work()

        threading.Thread(target=run, name=name, daemon=True).start()
        return stop.set


class RealHost:
    """This process."""

    def set_up_logs(self, settings: MonitoringSettings, actor: str) -> None:
        """Log under the actor's name."""
        logs.set_up(level=settings.log_level, as_json=settings.log_json, actor=actor)

    def address(self) -> str:
        """The node's address, as Ray found it."""
        return str(ray.util.get_node_ip_address())

    def export(
        self, metrics: Metrics, host: str, advertised_host: str, options: Mapping[str, Any]
    ) -> str:
        """Serve the metrics over HTTP; the address."""
        exporter = Exporter(metrics.registry, host=host, advertised_host=advertised_host, **options)
        return exporter.address

    def export_control_store(self, metrics: Metrics) -> None:
        """Show the memory of Ray's control store, if it runs here."""
        ControlStore(ray.get_runtime_context().get_session_name()).export(metrics)

    def give_way(self, nice: int) -> None:
        """Let other processes go before this one."""
        os.nice(nice)

    def answer_promptly(self) -> None:
        """Let threads take turns often, and the collector leave alone what is there."""
        answer_promptly()

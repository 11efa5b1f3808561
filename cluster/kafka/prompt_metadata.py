"""Connections on which a question about leaders does not wait as long as any other request."""

from __future__ import annotations

from typing import Any

from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import MetadataRequest

ANSWER_MS = 5000


class PromptMetadata(KafkaConnectionManager):  # type: ignore[misc]
    """Asks another broker when one has not answered for ANSWER_MS.

    A client has one such question open at a time. If a broker hangs that has just been asked,
    nobody learns of new leaders before the question ends, which takes request_timeout_ms otherwise.
    """

    def send(
        self, request: Any, node_id: Any = None, request_timeout_ms: float | None = None
    ) -> Any:
        """See `KafkaConnectionManager`; the connection ends when the time is over."""
        if isinstance(request, MetadataRequest):
            request_timeout_ms = min(ANSWER_MS, self.config["request_timeout_ms"])
        return super().send(request, node_id, request_timeout_ms)


def network(**config: Any) -> KafkaNetClient:
    """What kafka-python's clients take as `kafka_client`."""
    net = NetworkSelector(**config)
    return KafkaNetClient(net=net, manager=PromptMetadata(net, **config), **config)

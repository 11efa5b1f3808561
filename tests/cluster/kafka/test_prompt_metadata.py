"""Who asks for leaders asks another broker when one hangs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka.net.selector import NetworkSelector
from kafka.protocol.consumer import ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from cluster.kafka.prompt_metadata import ANSWER_MS, PromptMetadata


class FakeConnection:
    """Remembers how long each request may take."""

    def __init__(self) -> None:
        self.timeouts_ms: list[float | None] = []

    def send_request(self, request: object, request_timeout_ms: float | None = None) -> None:
        """Nothing is sent."""
        del request
        self.timeouts_ms.append(request_timeout_ms)


@pytest.fixture
def net() -> Iterator[NetworkSelector]:
    """A loop that is not used."""
    with closing(NetworkSelector()) as net:
        yield net


@pytest.mark.parametrize(("timeout_ms", "metadata_ms"), [(30_000, ANSWER_MS), (2_000, 2_000)])
def test_only_a_question_about_leaders_ends_early(
    net: NetworkSelector, monkeypatch: pytest.MonkeyPatch, timeout_ms: int, metadata_ms: int
) -> None:
    """After 5 s, or after what any request may take; all others keep their own time-out."""
    connection = FakeConnection()
    manager = PromptMetadata(net, request_timeout_ms=timeout_ms)
    monkeypatch.setattr(manager, "get_connection", lambda _: connection)
    manager.send(MetadataRequest(topics=[]), 1)
    manager.send(ListOffsetsRequest(), 1)
    manager.send(ListOffsetsRequest(), 1, 7)
    assert connection.timeouts_ms == [metadata_ms, None, 7]

from __future__ import annotations

import inspect

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RichStatus
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from actors import errors
from actors.calls.admission import Bounds
from actors.calls.channels import channel
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.calls.status import CODES, Status, details_of, status_of
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

OURS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


class Failing(pb_grpc.ScoringServicer):
    """A service whose every answer is an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def Inspect(self, request: pb.InspectRequest, context: object) -> pb.InspectResponse:  # noqa: N802 (the protocol's name)
        raise self._error


def failed(status: Status) -> grpc.aio.AioRpcError:
    """The status as a client sees it."""
    return grpc.aio.AioRpcError(
        status.code,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*status.metadata),
        details=status.message,
    )


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_code_of_its_own_choice(kind: type[Exception]) -> None:
    """No class of `actors.errors` falls through to its parent's code by accident."""
    assert kind in CODES


def test_an_invalid_request_names_the_field() -> None:
    """INVALID_ARGUMENT carries a field violation with the message."""
    status = status_of(errors.InvalidRequest("user", "user is empty"))
    assert (status.code, status.message) == (grpc.StatusCode.INVALID_ARGUMENT, "user is empty")
    info, bad = details_of(failed(status))
    assert isinstance(info, ErrorInfo)
    assert info.reason == "InvalidRequest"
    assert isinstance(bad, BadRequest)
    [violation] = bad.field_violations
    assert (violation.field, violation.description) == ("user", "user is empty")


def test_an_overload_says_when_to_come_back() -> None:
    """RESOURCE_EXHAUSTED carries the delay of the error."""
    status = status_of(errors.Overloaded("full", 0.25))
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    _, retry = details_of(failed(status))
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250


@pytest.mark.parametrize("kind", [errors.NotOwner, errors.ShardUnavailable, errors.Draining])
def test_what_is_retriable_is_unavailable_with_a_delay(kind: type[errors.EchoRankError]) -> None:
    """UNAVAILABLE tells clients to retry, and after how long."""
    status = status_of(kind("gone"))
    assert status.code is grpc.StatusCode.UNAVAILABLE
    assert any(isinstance(detail, RetryInfo) for detail in details_of(failed(status)))


def test_the_rich_status_repeats_code_and_message() -> None:
    """Clients that read only the details see the same error."""
    status = status_of(errors.UnknownArm("no such arm"))
    rich = RichStatus.FromString(dict(status.metadata)["grpc-status-details-bin"])
    assert (rich.code, rich.message) == (grpc.StatusCode.NOT_FOUND.value[0], "no such arm")


def test_a_relayed_status_keeps_code_message_and_details() -> None:
    """What a shard says reaches the client through the gateway unchanged,
    and nothing else of its metadata.
    """
    first = status_of(errors.InvalidRequest("items", "0 items"))
    error = failed(Status(first.code, first.message, (*first.metadata, ("server-timing", b"1"))))
    assert status_of(error) == first


def test_a_defect_is_internal_without_its_text() -> None:
    """What we did not foresee is ours to read in the log, not the caller's."""
    status = status_of(ZeroDivisionError("secret"))
    assert status == Status(
        grpc.StatusCode.INTERNAL, "ZeroDivisionError in the server; its log has the traceback", ()
    )


def test_bytes_that_are_no_message_are_the_callers_mistake() -> None:
    """A decoding error is INVALID_ARGUMENT, not INTERNAL."""
    status = status_of(DecodeError("truncated"))
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message of echorank.v1: truncated" in status.message


def test_details_that_do_not_belong_to_the_call_are_left_out() -> None:
    """A trailer of another call, or of junk, is neither read nor passed on."""
    other = status_of(errors.InvalidRequest("user", "user is empty"))
    junk = (("grpc-status-details-bin", b"\xff"),)
    for trailer in (other.metadata, junk):
        plain = Status(grpc.StatusCode.UNAVAILABLE, "gone", ())
        error = failed(plain._replace(metadata=trailer))
        assert details_of(error) == []
        assert status_of(error) == plain


@pytest.mark.parametrize(
    ("error", "delay_ms"),
    [
        (errors.InvalidRequest("user", "user is empty"), None),
        (errors.UnknownArm("no such arm"), None),
        (errors.Overloaded("full", 0.25), 250),
        (errors.ShardUnavailable("gone"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_any_client_can_read_the_details(error: Exception, delay_ms: int | None) -> None:
    """Over a real socket, with nothing of ours: the library's own reader
    finds reason, domain, field and delay.
    """
    server = RpcServer(
        lambda grpc_server: pb_grpc.add_ScoringServicer_to_server(Failing(error), grpc_server),
        RequestInterceptor(Metrics(CollectorRegistry()), Bounds(queue_max=1)),
        65_536,
    )
    async with channel(await server.start("127.0.0.1", 0)) as to_server:
        call = pb_grpc.ScoringStub(to_server).Inspect(pb.InspectRequest(user="u"))
        rich = await rpc_status.aio.from_call(call)
    await server.stop(0)
    assert (rich.code, rich.message) == (CODES[type(error)].value[0], str(error))
    found = {each.TypeName().rpartition(".")[2]: each for each in rich.details}
    found["ErrorInfo"].Unpack(info := ErrorInfo())
    assert (info.reason, info.domain) == (type(error).__name__, "echorank.v1")
    assert ("RetryInfo" in found) == (delay_ms is not None)
    if delay_ms is not None:
        found["RetryInfo"].Unpack(retry := RetryInfo())
        assert retry.retry_delay.ToMilliseconds() == delay_ms
    assert ("BadRequest" in found) == isinstance(error, errors.InvalidRequest)
    if isinstance(error, errors.InvalidRequest):
        found["BadRequest"].Unpack(bad := BadRequest())
        assert [each.field for each in bad.field_violations] == [error.field]

from __future__ import annotations

import inspect

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RichStatus

from actors import errors
from actors.calls.status import CODES, DETAILS_KEY, Status, details_of, status_of

OURS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


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
    rich = RichStatus.FromString(dict(status.metadata)[DETAILS_KEY])
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

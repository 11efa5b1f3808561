"""Each error class as one gRPC status, with machine-readable details of `google.rpc`."""

from __future__ import annotations

from typing import NamedTuple, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RichStatus
from grpc_status import rpc_status

from actors import errors

DOMAIN = "echorank.v1"
RETRY_AFTER_S = 0.5  # a new routing table is out sooner; a crashed shard needs some of these

CODES: dict[type[Exception], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BadRecord: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownArm: grpc.StatusCode.NOT_FOUND,
    errors.NotOwner: grpc.StatusCode.UNAVAILABLE,
    errors.UnknownShard: grpc.StatusCode.UNAVAILABLE,
    errors.ShardUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.BrokerUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.RecordsRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ErasureIncomplete: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveError: grpc.StatusCode.UNAVAILABLE,
    errors.ColdTierError: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.StaleEpoch: grpc.StatusCode.ABORTED,
    errors.StreamIdle: grpc.StatusCode.ABORTED,
    errors.Superseded: grpc.StatusCode.ABORTED,
    errors.OtherRun: grpc.StatusCode.ABORTED,
    errors.TombstoneTooLow: grpc.StatusCode.ABORTED,
    errors.OffsetGap: grpc.StatusCode.ABORTED,
    errors.OffsetOutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.BundleError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SnapshotError: grpc.StatusCode.DATA_LOSS,
    errors.OtherLog: grpc.StatusCode.DATA_LOSS,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotServedHere: grpc.StatusCode.UNIMPLEMENTED,
    errors.EchoRankError: grpc.StatusCode.UNKNOWN,
}

Metadata = tuple[tuple[str, str | bytes], ...]


class Status(NamedTuple):
    """What a server tells its caller when a call fails."""

    code: grpc.StatusCode
    message: str
    metadata: Metadata


def status_of(error: Exception) -> Status:
    """The status of an error: ours and a relayed one by its kind,
    any other INTERNAL without its text.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        return _relayed(error)
    if isinstance(error, DecodeError):
        return status_of(
            errors.InvalidRequest("", f"the request is no message of {DOMAIN}: {error}")
        )
    for kind in type(error).__mro__:
        if kind in CODES:
            return _rich(CODES[kind], error)
    message = f"{type(error).__name__} in the server; its log has the traceback"
    return Status(grpc.StatusCode.INTERNAL, message, ())


def details_of(error: grpc.aio.AioRpcError) -> list[Message]:
    """The `google.rpc` messages inside a failed call, for clients; unknown kinds are left out."""
    rich = _rich_of(error)
    kinds: dict[str, type[Message]] = {
        kind.DESCRIPTOR.full_name: kind for kind in (BadRequest, RetryInfo, ErrorInfo)
    }
    found = []
    for packed in rich.details if rich else ():
        if kind := kinds.get(packed.TypeName()):
            packed.Unpack(message := kind())
            found.append(message)
    return found


def _relayed(error: grpc.aio.AioRpcError) -> Status:
    rich = _rich_of(error)
    return _sent(rich) if rich else Status(error.code(), error.details() or "", ())


def _rich_of(error: grpc.aio.AioRpcError) -> RichStatus | None:
    """What a failed call carries beside code and text;
    None if that is nothing, or does not belong to them.
    """
    try:
        found: RichStatus | None = rpc_status.from_call(cast("grpc.Call", error))
    except (ValueError, DecodeError):
        return None
    return found


def _sent(rich: RichStatus) -> Status:
    sent = rpc_status.to_status(rich)
    return Status(sent.code, sent.details, sent.trailing_metadata)


def _rich(code: grpc.StatusCode, error: Exception) -> Status:
    number: int = code.value[0]
    return _sent(RichStatus(code=number, message=str(error), details=map(_packed, _details(error))))


def _details(error: Exception) -> list[Message]:
    details: list[Message] = [ErrorInfo(reason=type(error).__name__, domain=DOMAIN)]
    if isinstance(error, errors.InvalidRequest):
        violation = BadRequest.FieldViolation(field=error.field, description=str(error))
        details.append(BadRequest(field_violations=[violation]))
    if isinstance(error, errors.EchoRankError) and error.retriable:
        seconds = getattr(error, "retry_after_s", RETRY_AFTER_S)
        delay = Duration()
        delay.FromNanoseconds(int(seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    return details


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed

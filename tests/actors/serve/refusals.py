"""How a call of a test ends that is refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from actors.calls.status import details_of


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def detail(error: grpc.aio.AioRpcError, kind: type[Any]) -> Any:
    """The detail of a kind, which must be there."""
    return next(each for each in details_of(error) if isinstance(each, kind))

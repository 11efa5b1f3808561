"""A shard that owns every partition, and one of its users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.actors.serve.served_shard import ServedShard, served_shard, user_of

USER = user_of(1)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedShard]:
    """A shard that owns every partition."""
    async with served_shard(tmp_path) as served:
        yield served

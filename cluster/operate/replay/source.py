"""What a replay may read."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Where a replay's clicks come from."""

    ARCHIVE = "archive"
    LOG = "log"
    BOTH = "both"

"""What one snapshot of a partition consists of."""

from __future__ import annotations

import json
from typing import Any, Literal

import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError


class StateFile(BaseModel):
    """One arm's file, and what its bytes mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # within the partition's directory
    size_bytes: int
    xxh3: str  # of the whole file, 16 hexadecimal digits
    model: str
    schema_hash: str
    position: int  # the file's states hold every event below it
    users: int


class Manifest(BaseModel):
    """The complete set of state files of one snapshot; `position` is the least of theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    partition: int
    epoch: int
    position: int
    arms: dict[str, StateFile]

    def to_json(self) -> bytes:
        """The manifest and the checksum of its canonical form."""
        content = self.model_dump(mode="json")
        return json.dumps({"xxh3": _checksum(content), "manifest": content}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: not JSON, the checksum differs, or a format that this version does not know.
        """
        try:
            envelope = json.loads(text)
            content, written = envelope["manifest"], envelope["xxh3"]
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from error
        if (actual := _checksum(content)) != written:
            raise ValueError(f"its checksum is {actual}, but {written} was written")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"another format than this version's: {error}") from error


def _checksum(content: Any) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

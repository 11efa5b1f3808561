"""What one snapshot of a partition consists of."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class StateFile(BaseModel):
    """Some rows of one arm, as they were at `position`; never changed once it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # within the partition's directory
    size_bytes: int
    xxh3: str  # of the whole file, 16 hexadecimal digits
    rows: int
    position: int  # its rows hold every event below it


class Chain(BaseModel):
    """One arm's states: a file with all rows,
    then files with the rows that changed after the one before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    schema_hash: str
    # the states hold every event below it; the last file's, or more where nothing changed since
    position: int
    users: int
    # the base first; of a user's rows the last counts
    files: Annotated[tuple[StateFile, ...], Field(min_length=1)]

    @property
    def size_bytes(self) -> int:
        """Bytes to read in order to restore the arm."""
        return sum(file.size_bytes for file in self.files)

    @property
    def changed_rows(self) -> int:
        """Rows in the files after the base."""
        return sum(file.rows for file in self.files[1:])


class Manifest(BaseModel):
    """The complete set of state files of one snapshot; `position` is the least of the arms'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    partition: int
    epoch: int
    position: int
    arms: dict[str, Chain]

    def to_json(self) -> bytes:
        """The manifest and the checksum of its canonical form."""
        content = self.model_dump(mode="json")
        return json.dumps({"xxh3": _checksum(content), "manifest": content}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read what `to_json` wrote, also in format 1, whose snapshots were one whole file an arm.

        Raises:
            ValueError: not JSON, the checksum differs, or a format that this version does not know.
        """
        try:
            envelope = json.loads(text)
            content = envelope["manifest"]
            written = envelope["xxh3"]
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from error
        if (actual := _checksum(content)) != written:
            raise ValueError(f"its checksum is {actual}, but {written} was written")
        try:
            return cls.model_validate(
                _from_format_1(content) if content["format"] == 1 else content
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise ValueError(f"another format than this version's: {error!r}") from error


def _from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    arms = {}
    for arm, file in content["arms"].items():
        meaning = {name: file[name] for name in ("model", "schema_hash", "position", "users")}
        whole = {name: file[name] for name in ("name", "size_bytes", "xxh3", "position")} | {
            "rows": file["users"]
        }
        arms[arm] = {**meaning, "files": [whole]}
    return {**content, "format": 2, "arms": arms}


def _checksum(content: Any) -> str:
    return xxhash.xxh3_64_hexdigest(
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    )

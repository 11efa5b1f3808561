"""Where something stands in a file, for messages."""

from __future__ import annotations

from model.arrays import Longs

SHOWN_MAX = 60


class Place:
    """A column of a file, and which of its rows are looked at."""

    def __init__(self, file: str, column: str, rows: Longs | None = None) -> None:
        self.file = file
        self.column = column
        self._rows = rows

    def __str__(self) -> str:
        return f"{self.file}: column {self.column!r}"

    def of(self, rows: Longs) -> Place:
        """The same column when only `rows` of it are looked at."""
        return Place(self.file, self.column, rows)

    def row(self, index: int) -> str:
        """`FILE: row 3, column 'user'`; the first row after a header is row 1."""
        return f"{self.file}: {self.row_only(index)}, column {self.column!r}"

    def row_only(self, index: int) -> str:
        """`row 3`."""
        number = index if self._rows is None else int(self._rows[index])
        return f"row {number + 1:,}"


def shown(value: object) -> str:
    """A value as a message shows it: never long, never with control characters."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."

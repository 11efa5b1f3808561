"""What a reader of files noticed and read on: rows left out, ids that were numbers.
Each remark once, with a count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

Say = Callable[[str], None]


class Remarks:
    """Counts what is said alike of several rows or files, and remembers where it was first."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, count: int, where: str) -> None:
        """`count` more things of which `what` is true; `where` is the first of them."""
        if count:
            before, first = self._found.get(what, (0, where))
            self._found[what] = (before + count, first)

    def sentences(self) -> list[str]:
        """All of it, a sentence each."""
        return [
            f"{count:,} {what} (first: {where})" for what, (count, where) in self._found.items()
        ]

    def tell(self, say: Say) -> None:
        """Say all of it."""
        for sentence in self.sentences():
            say(sentence)


def to_stderr(sentence: str) -> None:
    """Print a remark for a person, apart from what a program prints for programs."""
    print(f"note: {sentence}", file=sys.stderr)  # noqa: T201 - readers are called from the command line

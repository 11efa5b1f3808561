"""The root of all errors of EchoRank, and the model's own."""

from __future__ import annotations

from typing import Any


class EchoRankError(Exception):
    """The root of every error that EchoRank raises about the world.

    Copies of one, as other processes get them, have its message and attributes, whatever its
    constructor takes.
    """

    retriable = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


class BundleError(EchoRankError):
    """A model bundle is missing, damaged, of another format,
    or does not reproduce its golden examples.
    """


def _again(
    kind: type[EchoRankError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> EchoRankError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error

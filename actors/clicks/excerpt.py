"""A value of a record in a message: cut, escaped, and never an error, whatever it is."""

from __future__ import annotations

from actors.clicks.json_text import Integer

SHOWN = 40  # characters or bytes
DIGITS_MAX = 19  # of a whole number


def excerpt(value: object, longest: int = SHOWN) -> str:
    """The value as a message may show it: one short line,
    whatever the value's size, depth and characters are.
    """
    if isinstance(value, Integer | int) and not isinstance(value, bool):
        return _whole(value)
    if isinstance(value, str | bytes):
        return (
            repr(value)
            if len(value) <= longest
            else f"{value[:longest]!r}... ({len(value)} {_unit(value)})"
        )
    if isinstance(value, bool | float | None):
        return repr(value)
    # never its repr, which goes as deep as the value
    return "{...}" if isinstance(value, dict) else "[...]"


def of_error(error: BaseException) -> str:
    """An error's class and the beginning of what it says."""
    try:
        said = str(error)
    except Exception:  # an error that cannot be written down has a class at least
        said = ""
    return f"{type(error).__name__}: {excerpt(said, 200)}"


def _whole(number: Integer | int) -> str:
    is_short = (
        len(number.lstrip("-")) <= DIGITS_MAX
        if isinstance(number, Integer)
        else abs(number) < 10**DIGITS_MAX
    )
    return str(number) if is_short else f"a whole number of more than {DIGITS_MAX} digits"


def _unit(value: str | bytes) -> str:
    return "characters" if isinstance(value, str) else "bytes"

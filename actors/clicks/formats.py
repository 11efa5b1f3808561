"""How a click is written in a record's value: protobuf,
or JSON with the field names of an existing topic.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from google.protobuf.message import DecodeError

from actors.clicks import json_text
from actors.clicks.click import Click
from actors.clicks.excerpt import excerpt
from actors.clicks.json_text import Integer
from actors.errors import BadRecord, ConfigError
from rpc import events_pb2

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# the year 2100: a time beyond is in another unit, whatever the record's own says
CEILING_MS = 4_102_444_800_000
# as milliseconds a time below is before March 1973, as seconds it is any time of these days
SECONDS_BELOW_MS = 10**11
# beyond 64 bits: stands for any time that is no number of milliseconds a record could mean
NEVER_MS = 10**19
# of an integer that may still be a time; a longer one is beyond NEVER_MS in every unit
TIME_DIGITS_MAX = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPaths:
    """Where JSON keeps each part of a click; a dot goes one object deeper: `product.id`."""

    user: str = "user"
    item: str = "item"
    time: str = "time"
    action: str = "action"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFormat:
    """What a record's value looks like and what is still acceptable.

    `fields` and `time_unit` describe JSON only: protobuf is always `echorank.v1.Click`, in
    milliseconds.

    Raises:
        ConfigError: two fields share a path or lie inside each other, or a limit is not positive.
    """

    format: Literal["protobuf", "json"] = "protobuf"
    fields: FieldPaths = field(default_factory=FieldPaths)
    time_unit: Literal["ms", "s", "iso8601"] = "ms"
    record_bytes_max: int = 65_536
    id_bytes_max: int = 256
    future_tolerance_s: float = 86_400.0
    # a record's name of an action -> the models'
    action_map: Mapping[str, str] = field(default_factory=dict)
    actions: frozenset[str] = frozenset()  # the names that are taken, after the map; empty: any

    def __post_init__(self) -> None:
        """Check that the fields can be told apart and the limits let something through."""
        paths = sorted(tuple(path.split(".")) for path in dataclasses.astuple(self.fields))
        for path, following in zip(paths, [*paths[1:], ()], strict=True):
            if not all(path) or path == following[: len(path)]:
                raise ConfigError(
                    f"events.fields: {'.'.join(path)!r} is empty, used twice or lies on the way "
                    "to another field; give each of user, item, time and action a path of its own"
                )
        for name in ("record_bytes_max", "id_bytes_max"):
            if (limit := getattr(self, name)) <= 0:
                raise ConfigError(
                    f"events.{name} is {limit}: no record would pass; set it to 1 or more"
                )
        if odd := sorted(
            name
            for name in (*self.action_map, *self.action_map.values(), *self.actions)
            if not name
        ):
            raise ConfigError(
                f"{len(odd)} names in events.action_map and events.actions are empty; name each "
                "action"
            )
        if self.actions and (lost := sorted(set(self.action_map.values()) - self.actions)):
            raise ConfigError(
                f"events.action_map maps to {', '.join(map(excerpt, lost))}, which events.actions "
                "does not take; add it there, or map to another name"
            )


def parser(event_format: EventFormat) -> Callable[[bytes], Click]:
    """The function that reads one value; it raises BadRecord for what cannot be read as a click."""
    return _from_protobuf if event_format.format == "protobuf" else JsonParser(event_format)


def encode(click: Click, event_format: EventFormat) -> bytes:
    """The value of a record that holds `click`, for producers: the demo, load tests, examples."""
    if event_format.format == "protobuf":
        return events_pb2.Click(
            user=click.user, item=click.item, time_ms=click.time_ms, action=click.action
        ).SerializeToString()
    paths = event_format.fields
    document = dict[str, Any]()
    _put(document, paths.user, click.user)
    _put(document, paths.item, click.item)
    _put(document, paths.time, _time_value(click.time_ms, event_format.time_unit))
    _put(document, paths.action, click.action)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _from_protobuf(value: bytes) -> Click:
    try:
        message = events_pb2.Click.FromString(value)
    except DecodeError as error:
        raise BadRecord(
            "undecodable",
            f"the value is no echorank.v1.Click ({error}); it starts with {excerpt(value[:24])}. "
            f"If the topic holds JSON, set events.format: json",
        ) from error
    return Click(message.user, message.item, message.action or "click", message.time_ms)


class JsonParser:
    """Reads one JSON object by the paths of an `EventFormat`.

    Integer ids are taken as their decimal text. A missing or null action means "click". Times
    without a zone are UTC; fractions below a millisecond are rounded.
    """

    def __init__(self, event_format: EventFormat) -> None:
        paths = event_format.fields
        self._user = tuple(paths.user.split("."))
        self._item = tuple(paths.item.split("."))
        self._time = tuple(paths.time.split("."))
        self._action = tuple(paths.action.split("."))
        self._unit = event_format.time_unit

    def __call__(self, value: bytes) -> Click:
        """The click in a record's value; BadRecord if there is none."""
        try:
            document = json_text.parse(value)
        except ValueError as error:
            raise BadRecord(
                "undecodable",
                f"the value is no JSON in UTF-8 ({error}); it starts with {excerpt(value[:24])}. "
                f"If the topic holds echorank.v1.Click, set events.format: protobuf",
            ) from error
        if not isinstance(document, dict):
            shown = excerpt(value[:24])
            raise BadRecord(
                "wrong_type",
                f"the value is JSON but no object, it starts with {shown}; send one object",
            )
        return self.click(document)

    def click(self, document: dict[str, Any]) -> Click:
        """The click that a JSON object holds; BadRecord if a field is of another type."""
        return Click(
            _text(document, self._user),
            _text(document, self._item),
            _text(document, self._action) or "click",
            _time_ms(document, self._time, self._unit),
        )


def _find(document: Any, path: tuple[str, ...]) -> Any:
    """What stands at `path`, or None if the path ends early."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _text(document: Any, path: tuple[str, ...]) -> str:
    found = _find(document, path)
    if type(found) is str:
        return found
    if found is None:
        return ""
    if type(found) is Integer or type(found) is int:
        return str(found)
    raise _wrong_type(path, found, "a string or an integer")


def _time_ms(document: Any, path: tuple[str, ...], unit: str) -> int:
    found = _find(document, path)
    if found is None:
        raise BadRecord("bad_time", f"{'.'.join(path)} is missing; every click needs its time")
    if unit == "iso8601":
        if type(found) is not str:
            raise _wrong_type(path, found, "an ISO 8601 string (events.time_unit: iso8601)")
        return _iso_ms(path, found)
    if type(found) is Integer:
        found = (
            int(found)
            if len(found) <= TIME_DIGITS_MAX
            else NEVER_MS * (-1 if found.startswith("-") else 1)
        )
    if type(found) is int:
        return _bounded(found * 1000 if unit == "s" else found)
    if type(found) is not float or math.isnan(found):
        raise _wrong_type(path, found, f"a number (events.time_unit: {unit})")
    found = found * 1000 if unit == "s" else found
    return round(max(-float(NEVER_MS), min(float(NEVER_MS), found)))


def _bounded(time_ms: int) -> int:
    return max(-NEVER_MS, min(NEVER_MS, time_ms))


def _iso_ms(path: tuple[str, ...], text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise BadRecord(
            "bad_time",
            (
                f"{'.'.join(path)} is {excerpt(text)}, no ISO 8601 time such as "
                "2026-01-31T12:00:00.000Z"
            ),
        ) from error
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND


def _wrong_type(path: tuple[str, ...], found: Any, wanted: str) -> BadRecord:
    kind = "int" if type(found) is Integer else type(found).__name__
    said = (
        f"{'.'.join(path)} is {excerpt(found)} ({kind}), but must be {wanted}; check events.fields"
    )
    return BadRecord("wrong_type", said)


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value


def _time_value(time_ms: int, unit: str) -> int | float | str:
    if unit == "iso8601":
        return (EPOCH + time_ms * MILLISECOND).isoformat(timespec="milliseconds")
    return time_ms / 1000 if unit == "s" else time_ms

"""Log lines on standard output: text for people, or one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

# What every record has; anything else on a record came in through `extra=` and belongs into the
# JSON.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "actor"}


def set_up(*, level: str, as_json: bool, actor: str, stream: TextIO | None = None) -> None:
    """Send the root logger's records of at least `level` to `stream`
    (standard output), marked with `actor`.

    Replaces the handlers that are there, so that a second call changes the format and doubles no
    line.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.addFilter(FewOfKafka())
    handler.setFormatter(JsonFormatter(actor) if as_json else text_formatter(actor))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # a line a connection
    logging.getLogger("kafka").setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.captureWarnings(True)


def text_formatter(actor: str) -> logging.Formatter:
    """Lines like `12:00:01.250 INFO    shard-0 actors.shard.shard:
    restored partition 3 at offset 120`.
    """
    return logging.Formatter(
        f"%(asctime)s.%(msecs)03d %(levelname)-7s {actor.replace('%', '%%')} %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


class FewOfKafka(logging.Filter):
    """Lets each line of kafka-python's code speak once in `every_s` seconds.

    It writes several lines for each attempt to connect, so a broker that is away for an hour would
    give a process tens of thousands. EchoRank's own lines and metrics say the same, once.
    """

    def __init__(self, every_s: float = 30.0, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._now_s = now_s
        self._spoke_s: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if not record.name.startswith("kafka."):
            return True
        line = (record.pathname, record.lineno)
        now_s = self._now_s()
        if now_s - self._spoke_s.get(line, -self._every_s) < self._every_s:
            return False
        self._spoke_s[line] = now_s
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (UTC), level, actor, logger,
    message, error, and any `extra=`.
    """

    def __init__(self, actor: str) -> None:
        super().__init__()
        self._actor = actor

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a value that JSON does not know is written as its text."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "actor": self._actor,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and name not in line
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)

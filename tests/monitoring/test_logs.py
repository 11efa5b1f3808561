"""Log lines, for people and for collectors."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from monitoring.logs import FewOfKafka, set_up


@pytest.fixture(autouse=True)
def _put_logging_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_json_lines_hold_message_extras_and_error() -> None:
    """Each record is one object on one line, also with a traceback in it."""
    stream = io.StringIO()
    set_up(level="INFO", as_json=True, actor="shard-0", stream=stream)
    logger = logging.getLogger("actors.shard.shard")
    logger.info("restored partition %d", 3, extra={"offset": 120, "where": {1}})
    try:
        raise ValueError("torn")
    except ValueError:
        logger.exception("snapshot")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["message"], first["level"], first["actor"]) == (
        "restored partition 3",
        "INFO",
        "shard-0",
    )
    assert (first["logger"], first["offset"], first["where"]) == ("actors.shard.shard", 120, "{1}")
    assert first["time"].endswith("Z")
    assert "ValueError: torn" in second["error"]


def test_text_lines_are_short_and_name_the_actor() -> None:
    """A line for people holds time, level, actor, logger and message."""
    stream = io.StringIO()
    set_up(level="INFO", as_json=False, actor="100%", stream=stream)
    logging.getLogger("actors.ingest.ingest").warning("lag %d", 5)
    assert stream.getvalue().rstrip().endswith("WARNING 100% actors.ingest.ingest: lag 5")


def test_level_filters_and_a_second_set_up_replaces_the_first() -> None:
    """Below the level nothing is written, and lines never come twice."""
    first = io.StringIO()
    second = io.StringIO()
    set_up(level="INFO", as_json=False, actor="a", stream=first)
    set_up(level="ERROR", as_json=False, actor="a", stream=second)
    logging.getLogger("x").warning("hidden")
    logging.getLogger("x").error("shown")
    assert first.getvalue() == ""
    assert second.getvalue().count("shown") == 1
    assert "hidden" not in second.getvalue()


def test_warnings_become_log_lines() -> None:
    """warnings.warn reaches the log, in the log's format."""
    stream = io.StringIO()
    set_up(level="INFO", as_json=True, actor="a", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old option", UserWarning, stacklevel=1)
    assert "old option" in json.loads(stream.getvalue())["message"]


def test_kafkas_clients_repeat_themselves_rarely() -> None:
    """The same line of their code speaks once in 30 s;
    other lines and other loggers are not held back.
    """
    now_s = 0.0
    few = FewOfKafka(every_s=30.0, now_s=lambda: now_s)

    def shown(name: str, line: int) -> bool:
        return few.filter(
            logging.LogRecord(name, logging.ERROR, "manager.py", line, "no node %d", (line,), None)
        )

    assert [shown("kafka.net.manager", 1) for _ in range(3)] == [True, False, False]
    assert shown("kafka.net.manager", 2)
    assert [shown("actors.ingest.ingest", 1) for _ in range(3)] == [True] * 3
    now_s = 30.0
    assert shown("kafka.net.manager", 1)

"""Which topic the states belong to: remembered once, and held against every later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import ConfigError, SnapshotError
from cluster.kafka.topic_identity import TopicIdentity


def test_the_first_topic_is_remembered_and_another_refused(tmp_path: Path) -> None:
    """The same id is confirmed as often as asked;
    another one is an error that names both and the ways out.
    """
    directory = str(tmp_path / "states")
    assert TopicIdentity(directory).load() is None
    TopicIdentity(directory).confirm("clicks", "id-1")
    TopicIdentity(directory).confirm("clicks", "id-1")
    assert TopicIdentity(directory).load() == "id-1"
    with pytest.raises(
        ConfigError, match=r"from topic clicks with id id-1, but topic clicks has id id-2.*delete"
    ):
        TopicIdentity(directory).confirm("clicks", "id-2")
    assert TopicIdentity(directory).load() == "id-1"


def test_a_broker_without_ids_confirms_and_refuses_nothing(tmp_path: Path) -> None:
    """Nothing is written, and what is there is left alone."""
    identity = TopicIdentity(str(tmp_path))
    identity.confirm("clicks", None)
    assert list(tmp_path.iterdir()) == []
    identity.confirm("clicks", "id-1")
    identity.confirm("clicks", None)
    assert identity.load() == "id-1"


@pytest.mark.parametrize("content", ["", "[]", '{"topic": "clicks"}', "{"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: str) -> None:
    """It is not taken for a first start, which would let another topic in."""
    (tmp_path / "topic.json").write_text(content)
    with pytest.raises(SnapshotError, match=r"cannot read .*topic\.json"):
        TopicIdentity(str(tmp_path)).confirm("clicks", "id-1")


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message says what to check."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=r"cannot (read|write) .*file/states/topic\.json"):
        TopicIdentity(str(tmp_path / "file" / "states")).confirm("clicks", "id-1")

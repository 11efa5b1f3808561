"""Whose directory it is: one deployment's, for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.errors import ConfigError, SnapshotError
from actors.snapshots.identity import NAME, Identity, claim

OURS = Identity(namespace="shop", topic="clicks", log="cluster-1")


def test_the_first_to_come_has_it(tmp_path: Path) -> None:
    """The directory is made, and its deployment may come back to it as often as it likes."""
    for _ in range(3):
        claim(str(tmp_path / "new" / "state"), OURS)
    assert json.loads((tmp_path / "new" / "state" / NAME).read_text()) == {
        "namespace": "shop",
        "topic": "clicks",
        "log": "cluster-1",
    }
    claim((tmp_path / "new" / "state").as_uri(), OURS)


@pytest.mark.parametrize("other", [{"namespace": "bank"}, {"topic": "views"}, {"log": "cluster-2"}])
def test_another_deployment_is_refused(tmp_path: Path, other: dict[str, str]) -> None:
    """The error names both deployments, the directory and the way out; nothing is changed."""
    claim(str(tmp_path), OURS)
    before = (tmp_path / NAME).read_bytes()
    [theirs] = other.values()
    with pytest.raises(
        ConfigError,
        match=f"{tmp_path}.*'shop'.*'clicks'.*'cluster-1'.*{theirs}.*directory of its own",
    ):
        claim(str(tmp_path), replace(OURS, **other))
    assert (tmp_path / NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_log_that_was_unknown_is_learned(tmp_path: Path) -> None:
    """A broker that does not tell its cluster's id claims the rest;
    the id is added once it is known.
    """
    claim(str(tmp_path), replace(OURS, log=""))
    claim(str(tmp_path), OURS)
    claim(str(tmp_path), replace(OURS, log=""))
    with pytest.raises(ConfigError, match="cluster-2"):
        claim(str(tmp_path), replace(OURS, log="cluster-2"))


def test_states_of_an_older_version_are_adopted(tmp_path: Path) -> None:
    """A directory with snapshots but without the file gets it."""
    (tmp_path / "partition-00000").mkdir()
    claim(str(tmp_path), OURS)
    assert (tmp_path / NAME).exists()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """The error says so, with the path."""
    (tmp_path / "state").touch()
    with pytest.raises(
        SnapshotError, match=r"state cannot be used.*it is a file.*must be a directory"
    ):
        claim(str(tmp_path / "state"), OURS)
    with pytest.raises(SnapshotError, match="cannot be used"):
        claim(str(tmp_path / "state" / "below"), OURS)


def test_an_unknown_scheme_is_explained() -> None:
    """A URI that nothing can open names itself."""
    with pytest.raises(SnapshotError, match="nowhere://x cannot be used"):
        claim("nowhere://x", OURS)


def test_credentials_in_a_uri_are_not_shown() -> None:
    """A key and its secret stay out of messages."""
    with pytest.raises(SnapshotError, match=r"s3n://bucket/state cannot be used") as caught:
        claim("s3n://key:se/cret@bucket/state", OURS)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", '{"namespace": "shop"}', "[]"])
def test_a_damaged_file_is_not_overwritten(tmp_path: Path, content: str) -> None:
    """Whose it is cannot be told, so nobody gets it until somebody decides."""
    (tmp_path / NAME).write_text(content)
    with pytest.raises(SnapshotError, match=f"{NAME} is damaged.*delete the file"):
        claim(str(tmp_path), OURS)
    assert (tmp_path / NAME).read_text() == content

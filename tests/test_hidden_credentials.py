"""No message shows the key or secret of a URI that cannot be used."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from actors.archive.files import ArchiveFiles
from actors.errors import EchoRankError
from actors.snapshots.identity import Identity, claim
from actors.snapshots.store import SnapshotStore
from cluster.cli.archive import _found
from cluster.coordinator.assignment_files import AssignmentFiles
from cluster.kafka.topic_identity import TopicIdentity
from training.data import archive

SECRET = "sEcReT"
URIS = [
    f"nope://key:{SECRET}/x@bucket/path",
    f"nope://bucket/path?access_key={SECRET}&secret_key={SECRET}",
]
USES: dict[str, Callable[[str], object]] = {
    "training": archive.read,
    "archive": ArchiveFiles.from_uri,
    "archive commands": lambda uri: _found(uri, None, None),
    "snapshots": lambda uri: SnapshotStore.from_uri(uri, kept=1),
    "deployment": lambda uri: claim(uri, Identity(namespace="n", topic="t", log="l")),
    "assignments": AssignmentFiles,
    "topic": TopicIdentity,
}


@pytest.mark.parametrize("uri", URIS, ids=["before the host", "parameters"])
@pytest.mark.parametrize("use", USES)
def test_an_error_names_the_place_without_its_credentials(use: str, uri: str) -> None:
    """Neither the error nor the errors behind it, which a traceback prints."""
    with pytest.raises((EchoRankError, ValueError)) as caught:
        USES[use](uri)
    assert SECRET not in str(caught.value)
    said = [
        line for line in traceback.format_exception(caught.value) if not line.startswith("  File")
    ]
    assert SECRET not in "".join(said)

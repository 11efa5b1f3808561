"""`echorank score` and `recommend`, as a user meets them."""

from __future__ import annotations

import json

from tests.cluster.cli.command_line import run
from tests.cluster.operate.fake_gateway import fake_gateway


def test_score_prints_items_and_origin() -> None:
    """A table in the order of the items, then where the answer came from; --json for programs."""
    with fake_gateway() as address:
        text = run("score", "196", "242", "302", "--address", address)
        data = json.loads(run("score", "196", "242", "302", "--json", "--address", address).stdout)
    assert text.exit_code == 0
    assert text.stdout.index("242") < text.stdout.index("302")
    assert (
        "FULL answer of arm main, model 00c0ffee, partition 3 up to offset 120; last click 1.5 s "
        "ago"
    ) in text.stdout
    assert data["probabilities"] == {"242": 0.5, "302": 0.25}
    assert data["origin"]["level"] == "LEVEL_FULL"
    assert data["origin"]["stale"] is False


def test_recommend_passes_k_and_seen_on() -> None:
    """-k items, without those seen unless asked for."""
    with fake_gateway() as address:
        new = run("recommend", "196", "-k", "2", "--json", "--address", address)
        every = run("recommend", "196", "-k", "1", "--seen", "--json", "--address", address)
    assert list(json.loads(new.stdout)["probabilities"]) == ["new-0", "new-1"]
    assert list(json.loads(every.stdout)["probabilities"]) == ["any-0"]


def test_a_refused_request_is_one_line() -> None:
    """The status code and the server's words on standard error, exit code 1."""
    with fake_gateway() as address:
        result = run("score", "nobody", "242", "--address", address)
    assert result.exit_code == 1
    assert (
        result.stderr == f"echorank: {address} answered INVALID_ARGUMENT: user must not be nobody\n"
    )

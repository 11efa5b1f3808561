"""How the tests are shared out over processes."""

from __future__ import annotations

import pytest


def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    """Two Ray clusters at a time starve each other;
    a pytest whose groups pytest-xdist does not see starts two.
    """
    by_group = getattr(request.config.option, "loadgroup", False)
    assert not by_group or request.node.nodeid.endswith(f"@{request.node.location[0]}")

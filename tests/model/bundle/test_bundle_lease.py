"""The lock beside a bundle that is served."""

from __future__ import annotations

from pathlib import Path

from model.bundle.lease import Lease, is_held


def test_a_bundle_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    """Whoever publishes there sees it, and sees that it has ended."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert not is_held(bundle)
    lease = Lease(bundle)
    assert is_held(bundle)
    lease.close()
    assert not is_held(bundle)


def test_what_is_no_directory_leaves_nothing_behind(tmp_path: Path) -> None:
    """A model that was made in memory has a name and no bundle."""
    Lease(tmp_path / "untrained").close()
    assert list(tmp_path.iterdir()) == []

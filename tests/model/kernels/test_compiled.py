"""Compiled kernels belong to the sources that they were made of."""

from __future__ import annotations

from pathlib import Path

from model.kernels.compiled import HERE, digest_of
from model.kernels.fold import fold_blocks
from model.kernels.vectors import matmul


def test_kernels_are_cached_under_their_sources() -> None:
    """The directory of a kernel's machine code changes with any source of the
    model, not with its own file alone.
    """
    for function in (fold_blocks, matmul):
        assert f"kernels-{digest_of(HERE, HERE.parent)}" in function.stats.cache_path


def test_the_digest_follows_every_file(tmp_path: Path) -> None:
    """Content, name and number of the files count; other files do not."""
    (tmp_path / "a.py").write_text("x = 1\n")
    seen = [digest_of(tmp_path)]
    (tmp_path / "notes.txt").write_text("not a source")
    assert digest_of(tmp_path) == seen[0]
    (tmp_path / "b.py").write_text("y = 1\n")
    seen.append(digest_of(tmp_path))
    (tmp_path / "b.py").write_text("y = 2\n")
    seen.append(digest_of(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    seen.append(digest_of(tmp_path))
    assert len(set(seen)) == 4

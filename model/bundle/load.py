"""Reading a published bundle, and whether this machine reproduces its golden examples."""

from __future__ import annotations

from pathlib import Path

from model.bundle import files as bundle_files
from model.bundle import golden
from model.bundle.bundle import Bundle
from model.params import FoldParams, ScoreParams
from model.popularity import popularity_of


def load_bundle(path: str | Path, *, verify: bool = True) -> Bundle:
    """Read a bundle directory.

    Raises:
        BundleError: missing, damaged, of another format, or (with `verify`) not reproducing its
            golden examples.
    """
    content = bundle_files.read(Path(path))
    bundle = of_content(content)
    if verify:
        golden.check(bundle, content.golden, Path(path))
    return bundle


def of_content(content: bundle_files.BundleContent) -> Bundle:
    """The bundle that these files hold, its golden examples not looked at."""
    return Bundle(
        version=content.version,
        config=content.config,
        items=content.items,
        fold=FoldParams(**{name: content.arrays[f"fold.{name}"] for name in FoldParams._fields}),
        score=ScoreParams(
            **{name: content.arrays[f"score.{name}"] for name in ScoreParams._fields}
        ),
        order=content.order,
        best=content.best,
        popularity=popularity_of(content.metadata),
    )

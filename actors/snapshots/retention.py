"""Which files of a partition are needed no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.snapshots import names
from actors.snapshots.manifest import Manifest
from actors.snapshots.names import Order


def order(manifest: Manifest) -> Order:
    """What decides which manifest is newer."""
    return Order(manifest.epoch, manifest.position)


def kept(manifests: Sequence[Manifest], count: int) -> list[Manifest]:
    """Those to keep of all readable manifests, newest first.

    The newest `count`. Where these stand on one base in some arm, and `count` is more than one, the
    newest with another base besides: no single file's damage is to cost everything.
    """
    chosen = list(manifests[:count])
    for arm in chosen[0].arms if chosen and count > 1 else ():
        bases = {_base(manifest, arm) for manifest in chosen} - {None}
        if len(bases) == 1:
            others = (
                manifest for manifest in manifests if _base(manifest, arm) not in {*bases, None}
            )
            chosen.extend(manifest for manifest in [next(others, None)] if manifest)
    return chosen


def retired(
    listed: Iterable[str], manifests: Sequence[Manifest], count: int, epoch: int
) -> list[str]:
    """The files, of those listed, that may go, in the order in which they must go;
    `manifests` are the readable ones.

    Manifests go first: one that exists names files that exist. Files of an epoch newer than `epoch`
    stay, so a shard that lost the partition cannot harm its new owner. So does what no manifest
    names but is newer than the oldest one kept: it may belong to a manifest that could not be read
    just now, or to the next one. Arms stand at positions of their own, so the files of each are
    compared with its position in these manifests.
    """
    if not (needed := kept(manifests, count)):
        return []
    named = _named(needed)
    superseded = {names.manifest(order(manifest)) for manifest in manifests}

    def is_retired(name: str) -> bool:
        at = names.order(name)
        if at is None or at.epoch > epoch or name in named:
            return False
        arm = names.arm(name)
        unfinished = name.endswith(names.TEMPORARY_END) and at <= _order_of(needed[0], arm)
        return (
            at < min(_order_of(manifest, arm) for manifest in needed)
            or name in superseded
            or unfinished
        )

    return _manifests_first(filter(is_retired, listed))


def all_but(listed: Iterable[str], manifest: Manifest) -> list[str]:
    """All files of the manifest's epoch and older ones but its own set,
    in the order in which they must go.
    """
    named = _named([manifest])
    older = (
        name
        for name in listed
        if (at := names.order(name)) and at.epoch <= manifest.epoch and name not in named
    )
    return _manifests_first(older)


def _order_of(manifest: Manifest, arm: str | None) -> Order:
    """Where an arm stands in a manifest;
    the manifest's own order for one that it does not have, and for no arm.
    """
    return (
        Order(manifest.epoch, manifest.arms[arm].position)
        if arm in manifest.arms
        else order(manifest)
    )


def _base(manifest: Manifest, arm: str) -> str | None:
    return manifest.arms[arm].files[0].name if arm in manifest.arms else None


def _named(manifests: Iterable[Manifest]) -> set[str]:
    named = set()
    for manifest in manifests:
        named.add(names.manifest(order(manifest)))
        named.update(file.name for chain in manifest.arms.values() for file in chain.files)
    return named


def _manifests_first(listed: Iterable[str]) -> list[str]:
    return sorted(listed, key=lambda name: (not name.endswith(names.MANIFEST_END), name))

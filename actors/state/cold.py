"""User states on local disk: the users that the memory has no room for,
in an LMDB file of one partition and arm.

Durability comes from snapshots alone, so nothing is synced, and the file is made anew for every
store. A read transaction is a picture of one moment that later writes leave alone, which is what
images are copied from.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from actors.errors import ColdTierError, ConfigError
from model.arrays import Bytes, Keys

log = logging.getLogger(__name__)

PIECE_USERS = 256
PREFIX = "cold-"
RESERVED_SHARE = 8  # of a file, kept free so that users of a full one can still be deleted
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

NOBODY: Keys = np.empty(0, dtype=np.uint64)


class ColdTier:
    """Rows by user key. One thread at a time may `exchange`; any number may read meanwhile.

    The files are deleted with `close`, or when nobody holds the tier any more.
    """

    def __init__(self, root: Path, name: str, row_bytes: int, bytes_max: int) -> None:
        self._root = root
        self._name = name
        self._row_bytes = row_bytes
        self._bytes_max = bytes_max
        self._users = 0
        # None while the disk has no room for an empty file
        self._open: lmdb.Environment | None = None

    @classmethod
    def below(cls, root: Path, name: str, row_bytes: int, bytes_max: int) -> ColdTier:
        """An empty tier in a new directory below `root`, of at most `bytes_max` bytes.

        On a full disk the directory is made with the first `exchange` that finds room.

        Raises:
            ConfigError: the directory cannot be made or used.
        """
        tier = cls(root, name, row_bytes, bytes_max)
        try:
            tier._made()
        except (OSError, lmdb.Error) as error:
            if not _is_full(error):
                raise ConfigError(
                    f"no cold tier can be made in {root}: {error!r}; make it a writable directory "
                    "on a local disk, or set another one as state.cold_directory"
                ) from error
            log.error(
                "no cold tier can be made in %s yet: %r; until then all users stay in memory",
                root,
                error,
            )
        return tier

    def __len__(self) -> int:
        return self._users

    @property
    def nbytes(self) -> int:
        """Bytes of the file, free pages included; 0 while it is empty."""
        if self._open is None or not self._users:
            return 0
        pages: int = self._open.info()["last_pgno"] + 1
        return pages * int(self._open.stat()["psize"])

    def get(self, users: Keys) -> tuple[Keys, Bytes]:
        """Those of `users` (n,) that are here, (m,), and their rows (m, row_bytes)."""
        if not self._users or not len(users):
            return NOBODY, np.empty((0, self._row_bytes), dtype=np.uint8)
        with self._made().begin(buffers=True) as transaction:
            return self._piece(transaction.cursor().getmulti(_names(users)))

    def exchange(self, users: Keys, rows: Bytes, gone: Keys) -> None:
        """Put the rows (n, row_bytes) of `users` (n,),
        and delete the users `gone` (m,): both or neither.

        Raises:
            ColdTierError: the file or the disk is full; everything is as before.
        """
        order = np.argsort(users)
        flat = np.ascontiguousarray(rows).reshape(-1).data
        values = [flat[at * self._row_bytes : (at + 1) * self._row_bytes] for at in order.tolist()]
        try:
            self._keep_reserve(len(users))
            with self._made().begin(write=True) as transaction:
                transaction.cursor().putmulti(zip(_names(users[order]), values, strict=True))
                for name in _names(np.sort(gone)):
                    transaction.delete(name)
        except (OSError, lmdb.Error) as error:
            raise ColdTierError(
                f"the cold tier in {self._root} cannot exchange {len(users)} users against "
                f"{len(gone)}, with {self.nbytes} bytes of at most {self._bytes_max} in use: "
                f"{error}; no state is lost; free disk space, or raise state.cold_bytes_max or "
                "state.memory_bytes_max"
            ) from error
        self._users = self._made().stat()["entries"]

    def view(self) -> ColdView:
        """What is here now, whatever is exchanged later; to be closed soon,
        as it keeps old pages in the file.
        """
        return ColdView(self._made().begin(buffers=True), self._piece)

    def close(self) -> None:
        """Delete the files; nothing can be read or written afterwards."""
        if self._open is not None:
            self._finalizer()

    def _made(self) -> lmdb.Environment:
        """The open file, which is made if there is none yet."""
        if self._open is None:
            self._root.mkdir(parents=True, exist_ok=True)
            directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self._name}-", dir=self._root))
            try:
                # No write map: on a full disk a write call fails, where touching a page of a hole
                # would kill the process. No read-ahead: users come in no order.
                path = str(directory)
                bytes_max = self._bytes_max
                self._open = lmdb.open(
                    path, map_size=bytes_max, sync=False, readahead=False, meminit=False
                )
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            self._finalizer = weakref.finalize(self, _dispose, self._open, directory)
        return self._open

    def _keep_reserve(self, users: int) -> None:
        """Raise lmdb.MapFullError if so many more would leave no pages for
        deletes, which take some as well.
        """
        live = self._made().stat()
        pages = live["branch_pages"] + live["leaf_pages"] + live["overflow_pages"]
        limit = self._bytes_max - self._bytes_max // RESERVED_SHARE
        if users and pages * live["psize"] + users * self._row_bytes > limit:
            raise lmdb.MapFullError(f"an {RESERVED_SHARE}th of the file is kept free")

    def _piece(self, pairs: list[tuple[Any, Any]]) -> tuple[Keys, Bytes]:
        names = b"".join(name for name, _ in pairs)
        rows = b"".join(row for _, row in pairs)
        users = np.frombuffer(names, dtype=">u8").astype(np.uint64)
        return users, np.frombuffer(rows, dtype=np.uint8).reshape(len(users), self._row_bytes)


class ColdView:
    """The tier as it was at one moment. One thread at a time;
    nothing can be read once it is closed.
    """

    def __init__(self, transaction: lmdb.Transaction, piece: Any) -> None:
        self._transaction: lmdb.Transaction | None = transaction
        self._piece = piece

    def users(self) -> Keys:
        """All keys, ascending, (n,)."""
        names = b"".join(self._cursor().iternext(values=False))
        return np.frombuffer(names, dtype=">u8").astype(np.uint64)

    def pieces(self, users: Keys | None) -> Iterator[tuple[Keys, Bytes]]:
        """Those of `users` (n,) that are here, or everybody for None, PIECE_USERS at a time."""
        if users is None:
            everybody = self._cursor().iternext()
            while pairs := list(islice(everybody, PIECE_USERS)):
                yield self._piece(pairs)
        else:
            users = np.sort(users)
            for first in range(0, len(users), PIECE_USERS):
                yield self._piece(
                    self._cursor().getmulti(_names(users[first : first + PIECE_USERS]))
                )

    def close(self) -> None:
        """Let the pages go; closing again does nothing."""
        if self._transaction is not None:
            self._transaction.abort()
            # the object alone would keep its place in LMDB's table of readers
            self._transaction = None

    def _cursor(self) -> lmdb.Cursor:
        if self._transaction is None:
            raise RuntimeError("the view of the cold tier is closed; take a new one")
        return self._transaction.cursor()


class ColdDirectory:
    """Where the cold tiers of one shard are."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def clear(self) -> None:
        """Delete what earlier processes left; one that still lives notices nothing."""
        clear(self._root)

    def tier(self, name: str, row_bytes: int, bytes_max: int) -> ColdTier:
        """An empty tier, as `ColdTier.below`."""
        return ColdTier.below(self._root, name, row_bytes, bytes_max)


def clear(root: Path) -> None:
    """Delete what earlier processes left below `root`;
    one that still lives keeps its open file and notices nothing.
    """
    for directory in root.glob(f"{PREFIX}*"):
        shutil.rmtree(directory, ignore_errors=True)


def _names(users: Keys) -> list[bytes]:
    """LMDB's keys: big-endian, so that their order is that of the numbers."""
    packed = users.astype(">u8").tobytes()
    return [packed[at : at + 8] for at in range(0, len(packed), 8)]


def _is_full(error: OSError | lmdb.Error) -> bool:
    """Whether the disk has no room, as opposed to a directory that can never be used."""
    return any(os.strerror(code) in str(error) for code in FULL)


def _dispose(environment: lmdb.Environment, directory: Path) -> None:
    environment.close()
    shutil.rmtree(directory, ignore_errors=True)

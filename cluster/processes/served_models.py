"""The models of a shard: of the versions with which the system was started, and of no others.

A bundle's directory may be replaced while it is served. A shard that starts again then must not
answer with another model than its peers: it takes the kept copy of the old one, or refuses, and
says so until that is mended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from actors.backoff import Backoff, Tries
from actors.errors import BundleError, EchoRankError
from model.bundle import files as bundle_files
from model.bundle.bundle import Bundle
from model.bundle.lease import Lease
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

BACKOFF = Backoff(min_s=1.0, max_s=60.0)


class ServedModels:
    """Loads each arm's bundle from its path, and holds it,
    so that who publishes there is warned.
    """

    def __init__(
        self, paths: Mapping[str, str], versions: Mapping[str, str], load: Callable[[str], Bundle]
    ) -> None:
        self._paths = dict(paths)
        self._versions = dict(versions)
        self._load = load
        self._held: list[Lease] = []

    def load(self) -> dict[str, Bundle]:
        """Each arm's bundle.

        Raises:
            BundleError: one cannot be read, or is not of the version that the system serves.
        """
        return {arm: self._one(arm, path) for arm, path in self._paths.items()}

    async def awaited(
        self, metrics: Metrics, tell: Callable[[], Awaitable[None]]
    ) -> dict[str, Bundle]:
        """Each arm's bundle, however long it takes until they are what the system serves.

        Meanwhile the log and a metric say what is wrong; `tell` is called before the first wait.
        """
        # who puts the right files back ends the wait
        tries = Tries(BACKOFF, asyncio.get_running_loop().time, also=(BundleError,))
        while True:
            try:
                found = await asyncio.to_thread(self.load)
            except EchoRankError as error:
                wait_s = tries.failed(error)
                log.error(
                    "this shard serves nothing for now, and looks again in %.0f s: %s",
                    wait_s,
                    error,
                )
                if tries.failures == 1:
                    metrics.models_refused.set(1)
                    await tell()
                await asyncio.sleep(wait_s)
            else:
                metrics.models_refused.set(0)
                return found

    def _one(self, arm: str, path: str) -> Bundle:
        wanted = self._versions[arm]
        now = bundle_files.version_at(Path(path))
        if now not in (None, wanted) and (copy := bundle_files.kept(Path(path), wanted)).is_dir():
            log.warning(
                "arm %s: %s holds version %s now, %s is in %s", arm, path, now, wanted, copy
            )
            bundle = self._load(str(copy))
        else:
            bundle = self._load(path)
        if bundle.version != wanted:
            raise BundleError(
                f"arm {arm!r}: the bundle at {path} has version {bundle.version}, but this system "
                f"was started with version {wanted}, which the other shards serve, and two models "
                f"must not answer for one arm. Put version {wanted} back there and this shard "
                "goes on by itself, or stop the system and start it again to serve "
                f"{bundle.version}; publish each model to a directory of its own"
            )
        self._held.append(Lease(Path(path)))
        return bundle

"""Ray's own start, with patience: Ray gives its processes 30 s,
which a busy machine, or a slow disk, may exceed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import ray

from training import ray_private

# the node's, and its control store's
SLOW = ("timed out during startup", "Timed out waiting for file")
TRIES = 3

Started = TypeVar("Started")

log = logging.getLogger(__name__)


def start(init: Callable[[], Started]) -> Started:
    """What `init` gives, called up to TRIES times while Ray is too slow;
    other errors are raised at once.

    `init` starts a node of Ray's: `ray.init`, or a further one beside those that this process is
    connected to.

    Raises:
        Exception: what the last try raised.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return init()
        except BaseException as error:  # also one that somebody interrupts
            ray_private.end_half_started(error.__traceback__)
            if not ray.is_initialized():
                ray.shutdown()  # what `ray.init` had begun
            # it has no class
            slow = isinstance(error, Exception) and any(words in str(error) for words in SLOW)
            if not slow or tries == TRIES:
                raise
            log.warning(
                "Ray's own processes did not start within 30 s, as on a busy machine; trying again"
            )

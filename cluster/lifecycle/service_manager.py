"""What systemd, or who else set NOTIFY_SOCKET, is told: when the system is ready,
how far it is, and that it stops.

A unit of `Type=notify` counts as started with READY=1 only, however long catching up takes: each
word in between gives it time until the next one.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

# until the next word: Ray and its actors take a minute to start, on a busy machine more
PATIENCE_S = 300

log = logging.getLogger(__name__)


def starting(status: str, environ: Mapping[str, str] = os.environ) -> None:
    """It is on its way."""
    _tell(environ, f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={PATIENCE_S * 1_000_000}")


def ready(environ: Mapping[str, str] = os.environ) -> None:
    """It works."""
    _tell(environ, "READY=1", "STATUS=Serving.")


def stopping(environ: Mapping[str, str] = os.environ) -> None:
    """It writes its last snapshots."""
    _tell(environ, "STOPPING=1", "STATUS=Stopping: last events, last snapshots.")


def _tell(environ: Mapping[str, str], *lines: str) -> None:
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto(
                "\n".join(lines).encode(),
                f"\0{address[1:]}" if address.startswith("@") else address,
            )
        except OSError as error:
            log.warning(
                "the service manager at NOTIFY_SOCKET=%s cannot be told %s: %s",
                address,
                lines[0],
                error,
            )

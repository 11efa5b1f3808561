"""A broker as a child process: started, awaited, stopped, and never left behind."""

from __future__ import annotations

import atexit
import logging
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.errors import BrokerUnavailable
from cluster.broker.free_port import HOST
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin

log = logging.getLogger(__name__)

START_TIMEOUT_S = 90.0  # a JVM on a busy machine with two cores needs 15
STOP_TIMEOUT_S = 10.0
LOG_TAIL_CHARACTERS = 2_000

# Runs the command in its own place and asks the kernel to kill it when the thread that started it
# ends (prctl 1 is PR_SET_PDEATHSIG). A preexec_fn would do the same, but is unsafe in a process
# that has threads.
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class BrokerProcess:
    """One running broker, in a session of its own so that Ctrl-C reaches it only through `stop`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        environ: Mapping[str, str],
        scratch: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.name = name
        self.address = f"{HOST}:{port}"
        self.log_path = Path(scratch.name) / "broker.log"
        self._scratch = scratch
        guard = [sys.executable, "-c", _DIE_WITH_PARENT] if _dies_with_parent() else []
        with self.log_path.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours or the configured KAFKA_HOME's
                [*guard, *command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until_it_answers(self) -> None:
        """Return when the broker answers a request.

        Raises:
            BrokerUnavailable: it ended, or kept silent for START_TIMEOUT_S; it is stopped then.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while not self._answers():
                if (code := self._process.poll()) is not None:
                    raise self._failed(f"ended with code {code} before it answered")
                if time.monotonic() > deadline:
                    raise self._failed(
                        f"did not answer at {self.address} within {START_TIMEOUT_S:.0f} s"
                    )
                time.sleep(0.05)
        except BaseException:  # also one that somebody interrupts: nobody else knows it yet
            self.stop()
            raise

    def stop(self) -> None:
        """Ask the broker to end, insist after STOP_TIMEOUT_S, and remove its scratch files."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("%s did not end within %.0f s and is killed", self.name, STOP_TIMEOUT_S)
                self._process.kill()
                self._process.wait()
        atexit.unregister(self.stop)
        self._scratch.cleanup()

    def _answers(self) -> bool:
        host, port = self.address.split(":")
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex((host, int(port))) != 0:
                return False
        try:
            # Short: a broker that is still starting takes connections which it never answers.
            access = KafkaAccess(
                bootstrap_servers=self.address, request_timeout_s=2.0, connect_timeout_s=2.0
            )
            with KafkaAdmin(access):
                return True
        except BrokerUnavailable:
            return False

    def _failed(self, what: str) -> BrokerUnavailable:
        tail = self.log_path.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
        return BrokerUnavailable(f"{self.name} {what}; the end of its log says:\n{tail}")


def _dies_with_parent() -> bool:
    """Whether the kernel can tie the child to us; it watches the starting thread,
    so only the main one will do.
    """
    return sys.platform == "linux" and threading.current_thread() is threading.main_thread()

"""A training on disk while it goes on,
so that neither a kill nor a diverging loss takes its work away.

One file a training, replaced in one step: weights, their average, the optimizer, the generators,
the place in the epoch. Taken up again on one CPU thread, the training goes on to the weights that
it would have had without the stop, to the bit.
"""

from __future__ import annotations

import copy
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from training.data.remarks import Say, to_stderr
from training.errors import StoppedError, TrainingError

KEPT = "unfinished.pt"
KEPT_NEXT = "unfinished-refit.pt"  # of the training that follows
FORMAT = 2
INTERVAL_S = 60.0
SHARE_MAX = 0.05  # of the time that goes into writing
HOW = "the same command and --resume"


class Keepable(Protocol):
    """What can be kept: everything that changes while a network is fitted."""

    def where(self) -> str:
        """The place in the training, in words."""
        ...

    def sound(self) -> bool:
        """Whether its weights are numbers."""
        ...

    def state(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` was made of."""
        ...


class Keeper(Protocol):
    """Where a training is kept."""

    def identify(self, identity: Mapping[str, str]) -> None:
        """Say what the training is of; one that is of anything else is not gone on with."""
        ...

    def resume(self, training: Keepable) -> None:
        """Go on with what is kept, if that is wanted."""
        ...

    def look(self, training: Keepable, *, now: bool = False) -> None:
        """Between two steps: keep the training if it is time or `now`,
        or if somebody wants to stop it.
        """
        ...

    def listening(self) -> Any:
        """A context in which signals stop the training at the next look."""
        ...

    def kept_at(self) -> str:
        """A clause on what is kept, or nothing."""
        ...


class Nowhere:
    """Nothing is kept; signals do what they always do."""

    def identify(self, identity: Mapping[str, str]) -> None:
        """Nothing to compare."""

    def resume(self, training: Keepable) -> None:
        """Nothing to resume."""

    def look(self, training: Keepable, *, now: bool = False) -> None:
        """Nothing to do."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A context without effect."""
        yield

    def kept_at(self) -> str:
        """Nothing."""
        return ""


class FileKeeper:
    """Keeps a training in a file of the directory `folder`, about once in `interval_s`.

    Raises:
        TrainingError: there is nothing to resume, or something that would be overwritten.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resume: bool = False,
        anew: bool = False,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        say: Say = to_stderr,
    ) -> None:
        self.path = folder / KEPT
        self.stop_asked = False
        self._resume = resume
        self._interval_s = interval_s
        self._clock = clock
        self._say = say
        self._last = clock()
        self._cost_s = 0.0
        self._kept_at = ""
        self._identity = dict[str, str]()
        if resume and not self.path.exists():
            raise TrainingError(
                f"{folder} holds no unfinished training to resume; start one without --resume"
            )
        if self.path.exists() and not resume and not anew:
            raise TrainingError(
                f"{folder} holds a training that was not finished: go on with {HOW}, begin anew "
                "with --anew, or choose another --out"
            )

    def following(self) -> FileKeeper:
        """Keeps the training that follows this one in a file of its own; where this one was
        resumed, that one goes on with what is there, if anything is.
        """
        other = copy.copy(self)
        other.path = self.path.with_name(KEPT_NEXT)
        other._resume = self._resume and other.path.exists()
        other._kept_at = ""
        other._cost_s = 0.0
        return other

    def identify(self, identity: Mapping[str, str]) -> None:
        """See `Keeper`."""
        self._identity = dict(identity)

    def resume(self, training: Keepable) -> None:
        """See `Keeper`.

        Raises:
            TrainingError: the file cannot be read, or is of other data or settings.
        """
        if self._resume:
            found = self._read()
            was = found["identity"]
            if other := sorted(
                name for name in self._identity if was.get(name) != self._identity[name]
            ):
                raise TrainingError(
                    f"{self.path} is of a training with another {' and another '.join(other)}; "
                    "resume it with the same ones, or begin anew with --anew"
                )
            training.restore(found["state"])
            self._kept_at = training.where()
            self._say(f"going on at {self._kept_at}")
        else:
            self.forget()
        self._last = self._clock()

    def look(self, training: Keepable, *, now: bool = False) -> None:
        """See `Keeper`.

        Raises:
            StoppedError: somebody wanted to stop it; it is kept.
        """
        due = self._clock() - self._last >= max(self._interval_s, self._cost_s / SHARE_MAX)
        if not (now or due or self.stop_asked):
            return
        if not training.sound():
            if self.stop_asked:
                raise StoppedError(
                    f"stopped at {training.where()}{self.kept_at() or '; nothing is kept'}"
                )
            return
        failure = self._keep(training)
        if self.stop_asked:
            if failure:
                raise StoppedError(f"stopped at {training.where()}; {failure}{self.kept_at()}")
            raise StoppedError(
                f"stopped at {self._kept_at}, and kept in {self.path}: go on with {HOW}"
            )
        if failure:
            self._say(f"{failure}; the training goes on without")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are heard at the next look; a second one is obeyed at once.

        Only Python's main thread may listen; in another one, signals do what they always do.
        """
        before: dict[signal.Signals, Any] = {}

        def heard(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self.stop_asked = True
            signal.signal(number, before[signal.Signals(number)])
            self._say("stopping after this step; once more to stop at once")

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.getsignal(number)
                signal.signal(number, heard)
        except ValueError:
            before.clear()
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def kept_at(self) -> str:
        """See `Keeper`."""
        return f"; it is kept in {self.path} as it was at {self._kept_at}" if self._kept_at else ""

    def forget(self) -> None:
        """Remove what is kept, also of what follows: all is over, and the result is saved."""
        self.path.with_name(KEPT_NEXT).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _keep(self, training: Keepable) -> str:
        """Write the file; what went wrong, if anything did."""
        begun = self._clock()
        new = self.path.with_name(f".{self.path.name}.new")
        content = {"format": FORMAT, "identity": self._identity, "state": training.state()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as stream:
                torch.save(content, stream)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch's own for a full disk
            return f"the training could not be kept in {self.path}: {error}"
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            self._last = self._clock()
            self._cost_s = self._last - begun
        self._kept_at = training.where()
        return ""

    def _read(self) -> dict[str, Any]:
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}, this version reads {FORMAT}")
        except Exception as error:  # of whatever kind torch's unpickling of a damaged file raises
            raise TrainingError(
                f"{self.path} holds no training that can be resumed ({error}); begin anew with "
                "--anew"
            ) from error
        return dict(found)

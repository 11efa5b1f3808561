"""What a person sees while a model trains: a bar on a terminal, a line an epoch anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one epoch brought."""

    epoch: int
    losses: tuple[float, ...]  # means over the epoch's steps
    metrics: Mapping[str, float]  # validation, of the averaged weights
    seconds: float  # since the start
    done: float  # share of the training that is over


class TrainingProgress:
    """The whole training on stderr: loss, validation NDCG@10,
    time passed and, on a terminal, time left.
    """

    def __init__(self, *, shown: bool = True, phase: str = "training") -> None:
        self.prefix = "" if phase == "training" else f"{phase}: "
        self.console = Console(stderr=True, quiet=not shown)
        self.bar = Progress(
            TextColumn(phase),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
        )
        self.task = self.bar.add_task(phase, total=1.0, note="")
        self.loss = float("nan")
        self.ndcg: float | None = None

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def step(self, done: float, loss: float) -> None:
        """`done` (0 to 1) of the training is over; `loss` is the newest step's."""
        self.loss = loss if self.loss != self.loss else 0.95 * self.loss + 0.05 * loss
        self._show(done)

    def say(self, sentence: str) -> None:
        """A line beside the bar."""
        self.console.print(f"{self.prefix}{sentence}", markup=False, soft_wrap=True)

    def epoch(self, line: Line) -> None:
        """An epoch ended."""
        self.loss = sum(line.losses)
        self.ndcg = line.metrics.get("ndcg10")
        self._show(line.done)
        if not self.console.is_terminal:
            self.console.print(
                f"{self.prefix}epoch {line.epoch + 1}: {self._note()}  "
                f"{line.seconds / 60:.1f} minutes, {line.done:.0%} done"
            )

    def _note(self) -> str:
        ndcg = "" if self.ndcg is None else f"  NDCG@10 {self.ndcg:.4f}"
        return f"loss {self.loss:.3f}{ndcg}"

    def _show(self, done: float) -> None:
        self.bar.update(self.task, completed=done, note=self._note())

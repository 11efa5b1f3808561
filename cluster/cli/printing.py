"""`echorank config print`: the settings in force as a file,
never over the file that they are read from.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from actors.errors import ConfigError
from cluster.cli.options import DEFAULT_FILE, settings_from
from cluster.settings.docs import to_yaml


def print_settings(config: Path | None, out: Path | None, *, secrets: bool) -> None:
    """Write the settings in force to the new file `out`, or to standard output.

    Raises:
        ConfigError: they cannot be used, or writing or having read them would lose what a file
            held.
    """
    source = config or DEFAULT_FILE
    if out is None:
        _check_source(source)
        sys.stdout.write(to_yaml(settings_from(config), secrets=secrets))
        return
    if out.exists() and out.stat().st_size:
        raise ConfigError(
            f"{out} is there already and is not overwritten; name another file, or delete it first"
        )
    text = to_yaml(settings_from(config), secrets=secrets)
    out.touch(mode=0o600 if secrets else 0o666)
    out.write_text(text, encoding="utf-8")


def _check_source(source: Path) -> None:
    """The shell empties the file that it redirects to before anybody reads it."""
    try:
        found = source.stat()
    except OSError:
        return
    if _is_standard_output(found):
        raise ConfigError(
            f"{source} is both read and written, and `>` has emptied it; {_instead(source)}"
        )
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        raise ConfigError(
            f"{source} is empty, as `>` and `tee` leave the file that they write to; "
            f"{_instead(source)}"
        )


def _instead(source: Path) -> str:
    return (
        "if it held settings, get it back and write to another file: echorank config print --out "
        f"NEW.yaml; if not, echorank config print --out {source}"
    )


def _is_standard_output(found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(1))
    except OSError:
        return False

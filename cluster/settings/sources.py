"""Where settings come from: a YAML file, and variables of the environment over it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from actors.errors import ConfigError
from cluster.settings import yaml_text
from cluster.settings.docs import (
    PREFIX,
    SECRETS,
    allowed,
    is_list,
    may_be_null,
    section_of,
    settings_of,
    takes_text,
    variable_of,
)
from cluster.settings.yaml_text import NotYaml

# what a service named echorank-... puts into every pod beside it
KUBERNETES_LINK = re.compile(r"(tcp|udp|sctp)://")
ALIKE = 0.9


def file_values(path: Path, model: type[BaseModel], problems: list[str]) -> dict[str, Any]:
    """The sections of a YAML file; an empty file has none, an empty section keeps its defaults.

    A line for each text that YAML reads as something else goes to `problems`.

    Raises:
        ConfigError: the file is missing, unreadable, or not a mapping in YAML.
    """
    try:
        values = yaml_text.read(path.read_text(encoding="utf-8"), model, "", problems)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; make one with `echorank config print --out {path}`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); it must be a readable UTF-8 file"
        ) from None
    except NotYaml as error:
        raise ConfigError(f"{path}: not valid YAML; {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected sections such as `serving:` at the top, got a "
            f"{type(values).__name__}; compare with `echorank config print`"
        )
    return _without_empty_sections(values, model)


def _without_empty_sections(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        field = model.model_fields.get(name) if isinstance(name, str) else None
        inner = section_of(field) if field else None
        if inner is None or value is not None:
            kept[name] = (
                _without_empty_sections(value, inner)
                if inner and isinstance(value, dict)
                else value
            )
    return kept


def apply_environment(
    values: dict[str, Any], environ: Mapping[str, str], model: type[BaseModel], problems: list[str]
) -> dict[str, str]:
    """Write `ECHORANK__*` over `values`, in place;
    the variable's name for each dotted path that it set.

    A setting that takes text gets the variable as it is; where it may be null, an empty variable
    says so, except for a secret. Any other value is read as YAML.

    Raises:
        ConfigError: a value is not YAML, a path goes through something that is not a section, or a
            name is misspelt.
    """
    settings = dict(settings_of(model))
    origins: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            _refuse_misspelt(variable, environ[variable], settings)
            continue
        parts = variable.removeprefix(PREFIX).lower().split("__")
        path = ".".join(parts)
        if path in origins:
            raise ConfigError(
                f"{variable} and {origins[path]} set the same setting; unset one of them"
            )
        if path not in settings:
            _refuse_misplaced(variable, path, settings)
        section = _section(values, parts[:-1], variable)
        if (field := settings.get(path)) is not None:
            section[parts[-1]] = _setting(path, field, environ[variable], variable)
        else:
            section[parts[-1]] = _sections(parts, model, environ[variable], variable, problems)
        origins[path] = variable
    return origins


def _setting(path: str, field: FieldInfo, raw: str, variable: str) -> Any:
    if takes_text(field):
        return None if raw == "" and may_be_null(field) and path not in SECRETS else raw
    try:
        return yaml.safe_load(raw)
    except yaml_text.UNREADABLE:
        raise ConfigError(
            f"{variable}: {_cut(raw)} is not a YAML value; expected {allowed(field)}"
        ) from None


def _sections(
    parts: list[str], model: type[BaseModel], raw: str, variable: str, problems: list[str]
) -> Any:
    """The value of a section, or list of sections, that stands at `parts`;
    the variable itself for an unknown name.
    """
    field: FieldInfo | None = None
    found: type[BaseModel] | None = model
    for part in parts:
        if found is None or (field is not None and is_list(field)):
            return raw
        field = found.model_fields.get(part)
        found = section_of(field) if field else None
    if found is None or field is None:
        return raw
    try:
        return yaml_text.read(raw, found, ".".join(parts), problems, listed=is_list(field))
    except NotYaml as error:
        raise ConfigError(f"{variable}: not valid YAML or JSON; {error}") from None


def _section(values: dict[str, Any], parts: list[str], variable: str) -> dict[str, Any]:
    """The mapping that `parts` lead to, made where it is missing."""
    for part in parts:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"{variable}: {part} is not a section; set it by {PREFIX}{part.upper()} (YAML or "
                "JSON)"
            )
    return values


def _refuse_misspelt(variable: str, value: str, settings: Mapping[str, FieldInfo]) -> None:
    """A variable that is meant for EchoRank but does not reach it:
    ECHORANK_KAFKA__..., echorank__kafka__...

    Raises:
        ConfigError: it looks like one.
    """
    if not re.match(r"echorank_", variable, re.IGNORECASE) or KUBERNETES_LINK.match(value):
        return
    known = {_plain(name): name for name in (variable_of(path) for path in settings)}
    alike = difflib.get_close_matches(_plain(variable), list(known), n=1, cutoff=ALIKE)
    if alike:
        raise ConfigError(f"{variable} sets nothing; did you mean {known[alike[0]]}?")
    if "__" in variable:
        raise ConfigError(
            f"{variable} sets nothing: variables are {PREFIX}SECTION__KEY, with two underscores "
            f"after each part, such as {PREFIX}SERVING__PORT"
        )


def _refuse_misplaced(variable: str, path: str, settings: Mapping[str, FieldInfo]) -> None:
    """A name that has underscores too few or too many, or goes on beyond a setting.

    Raises:
        ConfigError: it is one.
    """
    for known in settings:
        if (
            _plain(variable_of(known)) == _plain(variable) and "[]" not in known
        ) or path.startswith(f"{known}."):
            raise ConfigError(f"{variable} sets nothing; did you mean {variable_of(known)}?")


def _plain(variable: str) -> str:
    return re.sub(r"_+", "_", variable.upper()).removeprefix("ECHORANK_")


def _cut(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."

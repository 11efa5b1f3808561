"""Where settings come from: a YAML file, and variables of the environment over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from actors.errors import ConfigError
from cluster.config_docs import settings_of, takes_text

PREFIX = "ECHORANK__"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error; the plain loader would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [key_node.value for key_node, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands twice", node.start_mark)
        return mapping


def file_values(path: Path) -> dict[str, Any]:
    """The sections of a YAML file; an empty file has none, an empty section keeps its defaults.

    Raises:
        ConfigError: the file is missing, unreadable, or not a mapping in YAML.

    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; make one with `echorank config print > ray_config.yaml`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); it must be a readable UTF-8 file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML; {_one_line(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected sections such as `serving:` at the top, got a {type(values).__name__}; "
            "compare with `echorank config print`"
        )
    return {str(name): section for name, section in values.items() if section is not None}


def apply_environment(values: dict[str, Any], environ: Mapping[str, str], model: type[BaseModel]) -> dict[str, str]:
    """Write `ECHORANK__*` over `values`, in place; the variable's name for each dotted path that it set.

    A value is read as YAML, except that a setting that takes text gets digits and the like as text.

    Raises:
        ConfigError: a value is not YAML, or a path goes through something that is not a section.

    """
    text_settings = {path for path, field in settings_of(model) if takes_text(field)}
    origins = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        parts = variable.removeprefix(PREFIX).lower().split("__")
        path, raw = ".".join(parts), environ[variable]
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise ConfigError(f"{variable}: {raw!r} is not a YAML value; {_one_line(error)}") from None
        is_text = path in text_settings and value is not None
        _section(values, parts[:-1], variable)[parts[-1]] = raw if is_text else value
        origins[path] = variable
    return origins


def _section(values: dict[str, Any], parts: list[str], variable: str) -> dict[str, Any]:
    """The mapping that `parts` lead to, made where it is missing."""
    for part in parts:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{variable}: {part} is not a section; set it by {PREFIX}{part.upper()} (YAML or JSON)")
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

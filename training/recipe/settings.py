"""Settings that somebody gives go over those that are chosen; what holds in the end is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from model.config import ModelConfig
from training.errors import TrainingError
from training.fit.train import TrainConfig
from training.recipe.choice import Recipe


def tell_recipe(recipe: Recipe, given: Mapping[str, Any], console: Console) -> None:
    """What was picked for the log and why, a line each; `given` settings go over it."""
    console.print("The recipe for such a log:")
    said = [str(choice) for choice in recipe.choices if choice.name not in given]
    said += [f"{name} {value}: as the settings say" for name, value in given.items()]
    for sentence in said:
        console.print(f"- {sentence}.", markup=False, highlight=False, soft_wrap=True)


def read_settings(file: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `echorank tune` wrote, {"training": {...}, "shape": {...}}: what goes over the recipe's
    shape, and over its training.

    Raises:
        TrainingError: the file cannot be read, or a setting is unknown or out of range.
    """
    if file is None:
        return {}, {}
    try:
        content = json.loads(file.read_text())
        if unknown := set(content) - {"training", "shape"}:
            raise ValueError(f"unknown parts {sorted(unknown)}; known are 'training' and 'shape'")
        changes = content.get("shape", {})
        given = content.get("training", {})
        ModelConfig(**changes)  # says what is wrong with it
        TrainConfig(**given)
        return changes, given
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{file} holds no settings of a training ({error}); write them with echorank tune, or "
            "as "
            '{"training": {"learning_rate": 0.006}, "shape": {"slots": 2}}'
        ) from error

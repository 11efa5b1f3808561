"""How each model is trained on each data set: one small table, so that differences can be seen.

The streaming model gets what `training.recipe.choice` picks for the log, as a user does.

The optimizer, schedule, clipping, weight average and early stopping are
`training.fit.harness.FitConfig`'s for all. A `--set NAME=VALUE` on the command line goes over what
stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.accuracy.looks import LOOKS
from training.recipe.choice import choose
from training.recipe.look import Look
from training.rules.methods import METHODS

Values = Mapping[str, Any]
REFERENCES = ("sasrec", "gru4rec", "mamba4rec", "echomamba4rec", "echomamba4rec-published-init")
MODELS = ("echorank", *REFERENCES, "popularity", *METHODS)
RECURRENT = ("gru4rec", "mamba4rec", "echomamba4rec", "echomamba4rec-published-init")
BIDIRECTIONAL = ("echomamba4rec", "echomamba4rec-published-init")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One data set's settings of the references: of all, and more of some."""

    shared: Values
    recurrent: Values = field(default_factory=dict)
    bidirectional: Values = field(default_factory=dict)

    def of(self, model: str) -> dict[str, Any]:
        """All settings of one reference."""
        own = self.recurrent if model in RECURRENT else {}
        return {**self.shared, **own, **(self.bidirectional if model in BIDIRECTIONAL else {})}


LONG: Values = {"length": 200, "tokens": 3_200, "learning_rate": 2e-3, "dropout": 0.2, "epochs": 24}
# many small steps for few events
SMALL: Values = {**LONG, "tokens": 1_024, "learning_rate": 6e-3, "epochs": 8}
SHORT: Values = {"length": 50, "tokens": 1_600, "learning_rate": 2e-3, "dropout": 0.5, "epochs": 24}
# Recurrent references learn too slowly where half of each event is dropped: Mamba4Rec's validation
# NDCG@10 on Beauty after 18 of 24 epochs is .0524 with a dropout of .2, .0495 with .35, .0362 with
# .5.
GENTLE: Values = {"dropout": 0.2}
# A bidirectional model learns from one position a window, so one of its epochs is a sample of the
# prefixes.
SAMPLED: Values = {"prefixes": 30_000, "epochs": 60, "patience": 8}
# Sessions end before much can be learned by heart; none of the published ones is longer.
SESSIONS: Values = {**SHORT, "length": 70, "dropout": 0.3, "epochs": 12}
FEW: Values = {**SAMPLED, "prefixes": 5_000, "epochs": 20}  # for a thousand users
RECIPES: Mapping[str, Recipe] = {
    "ml-100k": Recipe(shared=SMALL, bidirectional=FEW),
    "ml-1m": Recipe(shared={**LONG, "epochs": 20}, bidirectional=SAMPLED),
    "beauty": Recipe(shared=SHORT, recurrent=GENTLE, bidirectional=SAMPLED),
    "video-games": Recipe(shared=SHORT, recurrent=GENTLE, bidirectional=SAMPLED),
    "toys": Recipe(shared=SHORT, recurrent=GENTLE, bidirectional=SAMPLED),
    "sports": Recipe(shared=SHORT, recurrent=GENTLE, bidirectional=SAMPLED),
    "foursquare-nyc": Recipe(shared=LONG, bidirectional=FEW),
    "diginetica": Recipe(shared=SESSIONS, bidirectional=SAMPLED),
    "tmall": Recipe(shared=SESSIONS, bidirectional=SAMPLED),
}


def recipe_of(data: str, model: str, look: Look | None = None) -> dict[str, Any]:
    """The settings of a model on a data set that looks so; without a `look`, as LOOKS has it.

    A set that the tables do not have is treated as ML-1M.

    Raises:
        ValueError: the model is unknown.
    """
    if model not in MODELS:
        raise ValueError(f"unknown model {model!r}; known are {', '.join(MODELS)}")
    if model in METHODS:
        return {}
    if model == "echorank":
        recipe = choose(look or LOOKS.get(data, LOOKS["ml-1m"]))
        return {**recipe.shape, **recipe.training}
    return RECIPES.get(data, RECIPES["ml-1m"]).of(model)

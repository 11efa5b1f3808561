"""The plots of the report, as SVG that stands inside a page and takes its colours and fonts.

matplotlib's SVG needs no script, prints sharply and has 10 to 30 kB; its colours here are names in
disguise, replaced by the page's own, so that one drawing serves light and dark.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from training.pilot.assessment import BUNDLE, POPULAR, Assessment, CurvePoint, LengthGroup
from training.pilot.results import Frontier

INK = "#111112"
MUTED = "#888889"
ACCENT = "#1f6fec"
WARM = "#c2620b"
PAPER = "#fefeff"
AS_CSS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    ACCENT: "var(--accent)",
    WARM: "var(--warm)",
    PAPER: "var(--card)",
}
TITLES = {"hr10": "HR@10", "ndcg10": "NDCG@10", "auc": "AUC"}
WIDTH_IN = 4.8  # 346 points: text stays readable on a phone
STYLE: Any = {
    "svg.fonttype": "none",  # text remains text
    "svg.hashsalt": "echorank",  # equal figures give equal bytes
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def ranking_plot(found: Assessment) -> str:
    """NDCG@10 of everybody who ranked, with intervals; hollow where seen items are excluded."""
    names = list(found.ranking)[::-1]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for metric, shift, filled in (("ndcg10", 0.13, True), ("ndcg10_excluded", -0.13, False)):
            for y, name in enumerate(names):
                colour = ACCENT if name == BUNDLE else MUTED
                value, low, high = found.ranking[name][metric]
                inside = colour if filled else PAPER
                axes.plot(
                    [low, high], [y + shift] * 2, color=colour, linewidth=2, solid_capstyle="round"
                )
                axes.plot(
                    value,
                    y + shift,
                    "o",
                    color=colour,
                    markerfacecolor=inside,
                    markersize=6,
                    clip_on=False,
                )
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(left=0)
        axes.set_xlabel("NDCG@10 (filled: plain, hollow: seen items excluded)")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")

    label = "NDCG at 10 of the bundle and the baselines, with 95 % intervals"
    return _svg("ranking", label, draw, 0.6 + 0.42 * len(names))


def calibration_plot(curve: Sequence[CurvePoint]) -> str:
    """Predicted against observed click probability on logarithmic axes,
    as most candidates are unlikely ones.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        seen = [point for point in curve if point.observed.value > 0]
        low = min([0.5, *(min(point.predicted, point.observed.low) for point in seen)]) / 1.5
        axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for point in seen:
            axes.plot(
                [point.predicted] * 2,
                [point.observed.low, point.observed.high],
                color=ACCENT,
                linewidth=2,
            )
            axes.plot(point.predicted, point.observed.value, "o", color=ACCENT, markersize=5)
        axes.set(xscale="log", yscale="log", xlim=(low, 1), ylim=(low, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share clicked")
        axes.grid(visible=True)

    return _svg(
        "calibration", "Calibration curve: predicted probability against share clicked", draw, 3.1
    )


def lengths_plot(groups: Sequence[LengthGroup]) -> str:
    """NDCG@10 by length of history: this bundle, the best simple method, popularity."""
    simple = groups[0].simple
    lines = [
        ([group.ndcg10 for group in groups], BUNDLE, ACCENT, "-", -0.06),
        ([group.popularity for group in groups], POPULAR, MUTED, "-", 0.06),
    ]
    if simple != POPULAR:
        lines.insert(1, ([group.best_simple for group in groups], simple, WARM, "--", 0.0))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for values, name, colour, style, shift in lines:
            for x, (_, low, high) in enumerate(values):
                axes.plot(
                    [x + shift] * 2, [low, high], color=colour, linewidth=2, solid_capstyle="round"
                )
            places = [x + shift for x in range(len(values))]
            axes.plot(
                places,
                [value.value for value in values],
                "o",
                linestyle=style,
                color=colour,
                markersize=5,
                label=name,
            )
        axes.set_xticks(
            range(len(groups)), [f"{group.label}\n({group.count:,})" for group in groups]
        )
        axes.set_xlim(-0.4, len(groups) - 0.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("clicks before (questions)")
        axes.set_ylabel("NDCG@10")
        axes.legend(loc="upper right")
        axes.grid(axis="y")

    return _svg("lengths", "NDCG at 10 by number of clicks before", draw, 2.6)


def frontier_plot(frontier: Frontier, own_bytes: int) -> str:
    """Bytes of a state against accuracy; what nothing beats is named.
    The line stands where this bundle does.
    """
    best = frontier.best()
    title = TITLES[frontier.metric]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(own_bytes, color=WARM, linewidth=1, linestyle=(0, (4, 3)))
        for point in frontier.points:
            axes.plot(point.state_bytes, point.value, "o", color=MUTED, markersize=4)
        axes.plot(
            [p.state_bytes for p in best],
            [p.value for p in best],
            "o-",
            color=ACCENT,
            markersize=5,
            linewidth=1,
        )
        for point in best:
            at = (point.state_bytes, point.value)
            axes.annotate(point.label, at, (4, -11), textcoords="offset points", fontsize=8)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("bytes of a state (dashed: this bundle)")
        axes.set_ylabel(title)
        axes.margins(0.2)
        axes.grid(visible=True)

    return _svg("frontier", f"Bytes of a state against {title}", draw, 2.9)


def _svg(name: str, label: str, draw: Any, height_in: float) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        written = io.StringIO()
        figure.savefig(
            written, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = written.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)  # ids are unique in the page
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)  # the page's own font
    for colour, css in AS_CSS.items():
        text = text.replace(colour, css)
    opening = rf'<svg viewBox="\1" role="img" aria-label="{html.escape(label)}">'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, text, count=1)
    return text.strip()

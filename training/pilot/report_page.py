"""The report as one self-contained HTML page: no script, no network, no other file."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.measure.intervals import Estimate
from training.pilot import report_plots as plots
from training.pilot.assessment import BUNDLE, RANK_METRICS, Assessment, Comparison
from training.pilot.criteria import Criterion, clicks_base, percent, verdict
from training.pilot.questions import NEGATIVES
from training.pilot.report_style import CSS
from training.pilot.results import Frontier, ModelResult
from training.rules.methods import EXPLAINED

TITLES = {"hr10": "HR@10", "ndcg10": "NDCG@10", "mrr10": "MRR@10", "auc": "AUC", "gauc": "GAUC"}
TITLES |= {"hr20": "HR@20", "ndcg20": "NDCG@20", "mrr20": "MRR@20"}
TITLES |= {"hr10_excluded": "HR@10, seen out", "ndcg10_excluded": "NDCG@10, seen out"}
TITLES |= {"log_loss": "log-loss", "ece": "calibration error"}
HIDDEN = {"history", "settings"}  # parts of the metadata that are long


def page(
    found: Assessment,
    tested: Sequence[Criterion],
    frontier: Frontier | None,
    models: Sequence[ModelResult],
    date: str,
) -> str:
    """The whole page; `date` is when it was made."""
    sections = [
        _verdict(tested),
        _look(found),
        _ranking(found),
        _lengths(found),
        _clicks(found),
        *([_comparison(found.against)] if found.against else []),
        _cost(found),
        _frontier(found, frontier),
        _models(found, models),
        _about(found),
    ]
    ready = all(each.passed for each in tested)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>EchoRank: offline check of "
        f"{_text(found.version)}</title>\n<style>{CSS}</style>\n</head>\n"
        "<body>\n<main>\n"
        f'<h1>Offline check</h1>\n<p class="quiet">Bundle <code>{_text(found.version)}</code> on '
        f"{_text(found.data_set)}, {_text(date)}</p>\n"
        f'<section class="verdict{" ready" if ready else ""}">'
        f"<p>{_text(verdict(found, list(tested)))}</p></section>\n"
        f"{_keys(found)}\n" + "\n".join(sections) + "\n</main>\n</body>\n</html>\n"
    )


def _keys(found: Assessment) -> str:
    own = found.ranking[BUNDLE]
    shown = [
        (f"{own['hr10'].value:.4f}", "HR@10"),
        (f"{own['ndcg10'].value:.4f}", "NDCG@10"),
        (f"{found.clicks[BUNDLE]['auc']:.4f}", "AUC"),
        (f"{found.cost.user_bytes:,}", "bytes a user"),
        (f"{found.cost.latency_ms[500][1]:.1f} ms", "p99, 500 candidates"),
    ]
    tiles = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in shown)
    return f'<div class="keys">{tiles}</div>'


def _verdict(tested: Sequence[Criterion]) -> str:
    rows = [
        [
            f"<b>{_text(each.name)}</b><small>{_text(each.measured)}; {_text(each.limit)}</small>",
            '<span class="pass">✓ met</span>'
            if each.passed
            else '<span class="fail">✗ missed</span>',
        ]
        for each in tested
    ]
    return _section("Ready for a pilot?", _table(["", ""], rows))


def _ranking(found: Assessment) -> str:
    rows = [
        [_text(name), *(_interval(figures[metric]) for metric in RANK_METRICS)]
        for name, figures in found.ranking.items()
    ]
    plain = _table(
        ["plain", *(TITLES[name] for name in RANK_METRICS[:3])], [row[:4] for row in rows], own=0
    )
    excluded = [[row[0], *row[4:]] for row in rows]
    return _section(
        "The right item among the first ten",
        f"<p>{_text(found.asked)} clicks of {_text(found.users)} users ({_text(found.split)}), "
        "each looked up in the list of ten that <code>Recommend</code> gives right before it, "
        f"from all {found.catalogue:,} items of the catalogue. Small figures are 95 % intervals; "
        "users were drawn with replacement.</p>",
        _figure(plots.ranking_plot(found)),
        plain,
        _table(
            ["seen items excluded", *(TITLES[name] for name in RANK_METRICS[:3])], excluded, own=0
        ),
        '<p class="note">Figures of one protocol must not be compared with the other\'s. With '
        "seen items excluded, a click on one of them counts as a miss for everybody, as "
        "<code>exclude_seen</code> leaves it out. Simple methods learned from the clicks before "
        f"the held-out ones by counting: {_text(_explained())}.</p>",
    )


def _explained() -> str:
    return "; ".join(f"{name}, {what}" for name, what in EXPLAINED.items())


def _look(found: Assessment) -> str:
    told = "".join(f"<li>{_text(sentence)}.</li>" for sentence in found.look.describe())
    return _section("How the log looks", f"<ul>{told}</ul>")


def _lengths(found: Assessment) -> str:
    return _section(
        "Whom it serves",
        "<p>NDCG@10 by how many clicks a user had before the one asked about: this bundle, "
        "popularity, and the simple method that is the best over all clicks asked.</p>",
        _figure(plots.lengths_plot(found.lengths)),
    )


def _clicks(found: Assessment) -> str:
    names = ("auc", "gauc", "log_loss", "ece")
    rows = [
        [_text(who), *(f"{clicks[name]:.4f}" for name in names)]
        for who, clicks in found.clicks.items()
    ]
    return _section(
        "Click probabilities",
        f"<p>Each clicked item beside {NEGATIVES} that the user had not had, drawn uniformly, so "
        f"{percent(clicks_base(found))} of the candidates were clicked. Other candidates, such as "
        "those of your own shelf, have another average: calibrate on them before you read "
        "probabilities as such.</p>",
        _table(["", *(TITLES[name] for name in names)], rows, own=0),
        _figure(
            plots.calibration_plot(found.curve),
            (
                "Candidates in groups with equally many clicks; on the dashed line, predicted "
                "equals observed."
            ),
        ),
    )


def _comparison(against: Comparison) -> str:
    rows = [
        [
            TITLES[name],
            _interval(against.own[name]),
            _interval(against.other[name]),
            _interval(against.difference[name], sign=True),
        ]
        for name in RANK_METRICS[:3]
    ]
    rows += [
        [
            TITLES[name],
            f"{against.own_clicks[name]:.4f}",
            f"{against.other_clicks[name]:.4f}",
            f"{against.own_clicks[name] - against.other_clicks[name]:+.4f}",
        ]
        for name in ("auc", "gauc", "log_loss", "ece")
    ]
    first, second = against.catalogues
    sizes = (
        ""
        if first == second
        else f" Catalogues differ ({first:,} and {second:,} items): the larger one is harder."
    )
    return _section(
        "Against another bundle",
        f"<p>The same {against.count:,} clicks asked of <code>{_text(against.version)}</code>; "
        f"differences are paired by user, this bundle minus the other.{sizes}</p>",
        _table(["", "this bundle", "the other", "difference"], rows),
    )


def _cost(found: Assessment) -> str:
    cost = found.cost
    rows = [
        [f"{candidates:,}", f"{p50:.2f}", f"{p99:.2f}"]
        for candidates, (p50, p99) in cost.latency_ms.items()
    ]
    return _section(
        "What a user and a question cost",
        f"<p>A user takes {cost.state_bytes:,} bytes of state and at most {cost.beside_bytes} of "
        f"index, {cost.user_bytes:,} in all, however long the history: "
        f"<b>{cost.users_gib(1_000_000):.2f} GiB a million users</b> and arm.</p>",
        _table(["candidates", "p50 ms", "p99 ms"], rows),
        '<p class="note">Processor time of one score call in this process, on this machine. '
        "Network, queueing and "
        "other load come on top: <code>make bench-score</code> measures a whole system over gRPC, "
        "at your rate.</p>",
    )


def _frontier(found: Assessment, frontier: Frontier | None) -> str:
    title = "Bytes against accuracy"
    if frontier is None:
        return _section(
            title,
            "<p>No results of a compression study were given. In a checkout of EchoRank <code>"
            "python -m bench.accuracy compression out/model --data ml-1m</code> makes them (minutes"
            " to hours); name their folder with <code>--results</code>.</p>",
        )
    metric = plots.TITLES[frontier.metric]
    rows = [
        [_text(point.label), f"{point.state_bytes:,}", f"{point.value:.4f}"]
        for point in frontier.points
    ]
    return _section(
        title,
        f"<p>The same model with its states in other formats{_on(frontier.data_set)}; those on "
        "the line are beaten by none in both.</p>",
        _figure(plots.frontier_plot(frontier, found.cost.state_bytes)),
        _table(["states", "bytes", metric], rows),
    )


def _models(found: Assessment, models: Sequence[ModelResult]) -> str:
    title = "Reference models"
    if not models:
        return _section(
            title,
            f"<p>No results of reference models on {_text(found.data_set)} were given. In a "
            "checkout of EchoRank <code>python -m bench.accuracy --help</code> lists the studies "
            "that train them (hours); name the folder of their <code>accuracy.json</code> with "
            "<code>--results</code>.</p>",
        )
    tables = []
    for task in dict.fromkeys(model.task for model in models):  # in their order
        here = [model for model in models if model.task == task]
        names = [name for name in TITLES if any(name in model.figures for model in here)]
        rows = [
            [
                (
                    f"{_text(model.model)}<small>{model.seeds} "
                    f"seed{'s' if model.seeds > 1 else ''}</small>"
                ),
                "" if model.state_bytes is None else f"{model.state_bytes:,}",
                *(_spread(model, name) for name in names),
            ]
            for model in here
        ]
        tables.append(_table([_text(task), "state bytes", *(TITLES[name] for name in names)], rows))
    return _section(
        title,
        (
            f"<p>Trained and tested by this project on {_text(found.data_set)}; means, ± half the "
            "range of seeds.</p>"
        ),
        *tables,
    )


def _about(found: Assessment) -> str:
    told = {
        name: value
        for name, value in found.metadata.items()
        if name not in HIDDEN and value is not None
    }
    shown = {
        "catalogue": (
            f"{found.catalogue:,} items, {percent(found.catalogue_share)} of the held-out clicks"
        ),
        "held-out clicks": f"{found.held:,}, of which {found.asked:,} were asked",
        **{
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in told.items()
        },
        "training": json.dumps(found.metadata.get("settings", {})),
        "model": json.dumps(found.config),
    }
    rows = [
        [_text(name.replace("_", " ")), f"<code>{_text(value)}</code>"]
        for name, value in shown.items()
    ]
    return _section("What the bundle says of itself", _table(["", ""], rows, numbers=False))


def write(path: Path, text: str) -> None:
    """Write the page, and the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(parts) + "\n</section>"


def _figure(svg: str, caption: str = "") -> str:
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{svg}{under}</figure>"


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    own: int | None = None,
    numbers: bool = True,
) -> str:
    """A table of ready HTML; columns after the first are numbers where
    their cells look like ones.
    """
    rows = list(rows)
    right = [
        numbers and column > 0 and all(row[column][:1] in "+-0123456789" for row in rows)
        for column in range(len(heads))
    ]
    mark = ["" if not is_number else ' class="number"' for is_number in right]
    head = (
        "".join(f"<th{mark[i]}>{text}</th>" for i, text in enumerate(heads)) if any(heads) else ""
    )
    body = "".join(
        f"<tr{' class=own' if number == own else ''}>"
        + "".join(f"<td{mark[i]}>{text}</td>" for i, text in enumerate(row))
        + "</tr>\n"
        for number, row in enumerate(rows)
    )
    return f'<div class="wide"><table>{f"<tr>{head}</tr>" if head else ""}\n{body}</table></div>'


def _interval(estimate: Estimate, *, sign: bool = False) -> str:
    form = "+.4f" if sign else ".4f"
    return f"{estimate.value:{form}}<small>{estimate.low:{form}} to {estimate.high:{form}}</small>"


def _spread(model: ModelResult, name: str) -> str:
    if name not in model.figures:
        return ""
    spread = f"<small>± {model.spread[name] / 2:.4f}</small>" if model.seeds > 1 else ""
    return f"{model.figures[name]:.4f}{spread}"


def _on(data_set: str) -> str:
    return f", on {_text(data_set)}" if data_set else ""


def _text(value: object) -> str:
    return html.escape(f"{value:,}" if isinstance(value, int) else str(value))

"""What each file of rows answers: the question, and how the answer is read from the rows.

A figure here is as exact as a reader can use; the rows have the rest.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from bench.accuracy import rows
from training.data import datasets

Content = Any  # of a file of rows, as its writer made it
OWN = ("echorank", "streaming", "slots-")  # models that are the product's, or made of its parts
# the first that a table has stands for the product
OURS: Mapping[rows.Task, tuple[str, ...]] = {
    "recommend": ("echorank-int8",),
    "next-item": ("echorank-int8", "echorank"),
    "ctr": ("streaming-large",),
}
FIGURE: Mapping[rows.Task, tuple[str, str]] = {
    "recommend": ("ndcg10", "NDCG@10"),
    "next-item": ("ndcg10", "NDCG@10"),
    "ctr": ("auc", "AUC"),
}
QUESTIONS: Mapping[rows.Task, str] = {
    "recommend": "How good are the lists that are served ({}, plain)?",
    "next-item": "How well is the next item ranked ({}, plain)?",
    "ctr": "How well are clicks told from other impressions ({})?",
}
SHIPPED = "as shipped"
ABLATED = ("no membership", "no spectral filter", "no window attention")


def question_of(task: rows.Task, dataset: str) -> str:
    """What a table answers; a data set's name says how it was divided where that is not its own."""
    own = (
        "leave-one-out" if datasets.tested_sessions(dataset) is None else "each click of a session"
    )
    divided = dataset if task == "ctr" or "," in dataset else f"{dataset}, {own}"
    return QUESTIONS[task].format(divided)


def fold(found: Content) -> str:
    """Events a second of one core."""
    return (
        f"{found['store_events_per_s']:,} clicks/s into a store, {found['events_per_s']:,} into "
        f"bare states: {found['ratio_to_torch']} times batched PyTorch; "
        f"{found['bytes_per_user']:,} bytes a user"
    )


def score(found: Content) -> str:
    """500 candidates, beside ingest."""
    times = {
        row["concurrency"]: (row["p50_ms"], row["p99_ms"])
        for row in found["rows"]
        if row["candidates"] == 500 and row["ingest"]
    }
    shown = ", ".join(
        f"{clients} at a time {p50:.1f} / {p99:.1f} ms" for clients, (p50, p99) in times.items()
    )
    return (
        f"p50 / p99 of 500 candidates beside {found['ingest_clicks_per_s']:,} clicks/s, everything "
        f"on one machine: {shown}"
    )


def overload(found: Content) -> str:
    """The part of the capacity, by how much is asked."""
    last = found["rows"][-1]["checkout"]
    parts = {
        row["load"].split()[0]: row["part"]
        for row in found["rows"]
        if row["checkout"] == last and "times" in row["load"]
    }
    shown = ", ".join(f"{part:.0%}" for part in parts.values())
    return f"{shown} of the capacity at {', '.join(parts)} times the capacity"


def snapshot(found: Content) -> str:
    """The share of the throughput, and the longest pause."""
    costs = ", ".join(f"{row['overhead']:.1%} at {row['users']:,} users" for row in found["rows"])
    pause = max(row["pause_ms_max"] for row in found["rows"])
    return f"{costs}; nobody waits longer than {pause:.1f} ms"


def recovery(found: Content) -> str:
    """Seconds to restore."""
    return ", ".join(f"{row['users']:,} users in {row['restore_s']:.1f} s" for row in found["rows"])


def replay(found: Content) -> str:
    """Clicks a second of one core."""
    return (
        f"{found['archive_events_per_s']:,} clicks/s from the archive, "
        f"{found['log_events_per_s']:,} from Kafka's records, the same bytes"
    )


def rest(found: Content) -> str:
    """What grows fastest."""
    grown = [row for row in found["processes"] if row["bytes_per_hour"] is not None]
    most = max(grown, key=lambda row: row["bytes_per_hour"])
    return (
        f"the {most['process']} most, by {most['bytes_per_hour'] / 2**20:.1f} MiB an hour in the "
        f"second half of {found['minutes']:.0f} minutes"
    )


def chaos(found: Content) -> str:
    """Clicks lost and doubled."""
    return (
        f"{found['lost']} lost, {found['doubled']} doubled of {found['acknowledged']:,} after "
        f"{found['kills']} faults, bytes {'equal' if found['byte_equal'] else 'NOT equal'}"
    )


def failover(found: Content) -> str:
    """Worst times until a standby answers."""
    times = {kind: row["takeover_s"]["max"] for kind, row in found["kinds"].items()}
    return "at the worst: " + ", ".join(
        f"{kind} {seconds:.2f} s" for kind, seconds in times.items() if seconds is not None
    )


def ablations(found: Sequence[rows.Row]) -> str:
    """What the loss of each named part costs on ML-100k."""
    ours = [row for row in found if answered(row)]
    base = {row["seed"]: row["ndcg10"] for row in ours if row["model"] == SHIPPED}
    lost: dict[str, float] = {}
    for name in ABLATED:
        runs = [row for row in ours if row["model"] == name and row["seed"] in base]
        lost[name] = statistics.mean(row["ndcg10"] - base[row["seed"]] for row in runs)
    shown = ", ".join(f"{name} {value:+.4f}" for name, value in lost.items())
    return f"NDCG@10 on ML-100k: {shown}"


def answered(row: rows.Row) -> bool:
    """Whether the answer of `ablations` is from that row."""
    return row["dataset"] == "ml-100k" and row["model"] in {SHIPPED, *ABLATED}


def compression(found: Content) -> str:
    """Bytes and loss of what ships."""
    by_name = {row["states"]: row for row in found["rows"]}
    shipped = by_name["shipped fold"]
    low, high = shipped["ndcg10_loss_interval"]
    return (
        f"as shipped, {shipped['state_bytes']:,} bytes instead of "
        f"{by_name['float32']['state_bytes']:,} lose {shipped['ndcg10_loss']:+.4f} NDCG@10 "
        f"({low:+.4f} to {high:+.4f})"
    )


def drift(found: Content) -> str:
    """Relative error of the logits, soon and late."""
    [row] = [row for row in found["rows"] if row["states"] == "int8, stochastic"]
    return (
        f"logits from int8 states are {row['logits'][2]:.3f} off after "
        f"{found['lengths'][2]:,} events, {row['logits'][-1]:.3f} after {found['lengths'][-1]:,}"
    )


def memories(found: Content) -> str:
    """NDCG@10 by what is remembered."""
    by_name = {row["memory"]: row["test"]["ndcg10"] for row in found["rows"]}
    shown = "; ".join(
        f"{name} {by_name[name]:.4f}"
        for name in ("none", "ring, 512 fingerprints", "everything, exactly")
    )
    return f"NDCG@10 on {found['data']}: {shown}"


def short(found: Content) -> str:
    """NDCG@10 after one event and after ten, and the best simple method there."""
    shown = []
    for data, groups in found["data"].items():
        parts = []
        for row in groups:
            if row["events"] in {"1", "10 to 29"}:
                figures = {name: each["ndcg10"] for name, each in row["figures"].items()}
                own = figures.pop("recommend")
                best = max(figures, key=lambda name: figures[name])
                parts.append(f"after {row['events']} {own:.4f} (`{best}` {figures[best]:.4f})")
        shown.append(f"{data}: {', '.join(parts)}")
    return f"NDCG@10 on {'; '.join(shown)}"


def noise(found: Content) -> str:
    """NDCG@10 without and with noise, with and without the front."""
    figures = {
        (row["front"], row["tested_on"]): row["ndcg10"]
        for row in found["rows"]
        if not row["trained_on"]
    }
    shown = ", ".join(
        f"{front} {figures[front, 0.0]:.4f} to {figures[front, 0.4]:.4f}"
        for front in ("filter and attention", "neither")
    )
    return f"NDCG@10 on {found['data']} with 40 % random clicks in the histories: {shown}"


def rare_signals(found: Content) -> str:
    """AUC after a thousand clicks, where the event was rare in training, too."""
    rare = {row["model"]: row["auc"]["1000"] for row in found["rows"] if row["share"] < 1}
    return "AUC after 1,000 clicks: " + "; ".join(
        f"{name} {value:.2f}" for name, value in rare.items()
    )


def catalogues(found: Content) -> str:
    """Minutes and memory by the number of items, of the sampled softmax on made-up logs."""
    made = [row for row in found["rows"] if row["shipped"]]
    shown = ", ".join(
        f"{row['items']:,} items {row['minutes_an_epoch']:.1f} minutes an epoch and "
        f"{row['peak_mib'] / 1024:.1f} GiB"
        for row in made
    )
    return f"{made[0]['clicks']:,} clicks by sampled softmax: {shown}"


def ours_of(task: rows.Task, found: Sequence[rows.Row]) -> str | None:
    """The product's model in a table; None where the index asks nothing: there is none of it, or no
    other model.
    """
    names = {rows.label(row) for row in found}
    if not any(not name.startswith(OWN) for name in names):
        return None
    return next((name for name in OURS.get(task, ()) if name in names), None)


def accuracy(task: rows.Task, ours: str, found: Sequence[rows.Row]) -> str:
    """Ours beside the best model that is not, means over seeds; rows of one task and data set."""
    figure, title = FIGURE[task]
    ordered = sorted(found, key=rows.label)
    means = {
        name: statistics.mean(row[figure] for row in group)
        for name, group in groupby(ordered, rows.label)
    }
    others = [name for name in means if not name.startswith(OWN)]
    best = max(others, key=means.__getitem__)
    state = next(row["state_bytes"] for row in found if rows.label(row) == ours)
    bytes_each = "the whole history" if state is None else f"{state:,} bytes a user"
    return (
        f"{title} {means[ours]:.4f} (`{ours}`, {bytes_each}); the best other is "
        f"`{best}` with {means[best]:.4f}"
    )


# file of rows -> question and answer, in the order of the index
ANSWERS: Mapping[str, tuple[str, Callable[[Content], str]]] = {
    "ablations": ("What is each element of the model worth?", ablations),
    "compression": ("What do rounded states lose against float32?", compression),
    "drift": ("Does the error of rounded states grow with the history?", drift),
    "memories": ("How far back must membership reach?", memories),
    "short": ("What is an answer worth after the first clicks?", short),
    "noise": ("What do random clicks cost?", noise),
    "rare_signals": ("Is one rare event still known much later?", rare_signals),
    "catalogues": ("What does a large catalogue cost in training?", catalogues),
    "fold": ("How many clicks does one core fold?", fold),
    "score": ("How soon is a question answered?", score),
    "overload": ("How much is answered when more is asked than can be?", overload),
    "snapshot": ("What do snapshots cost folding?", snapshot),
    "recovery": ("How long does a restore take?", recovery),
    "replay": ("How fast is a partition folded anew on one core?", replay),
    "rest": ("Does the memory of a system at rest grow?", rest),
    "chaos": ("Is a click lost or doubled when parts die?", chaos),
    "failover": ("How soon does a standby answer with fresh clicks?", failover),
}

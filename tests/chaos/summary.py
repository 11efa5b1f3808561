"""What a session found, as figures and as a table."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bench import report
from tests.chaos.questions import OK, Asked
from tests.chaos.session import RESTART, Outcome, Plan, Struck
from tests.chaos.stage import Deployment

HEADS = (
    "kills",
    "clicks",
    "lost",
    "doubled",
    "bytes",
    "repair s",
    "recovery s",
    "worst",
    "takeover s",
    "worst",
)
SCORING = ("requests", "retried", "errors", "error_rate", "p99_ms")


def summary(outcome: Outcome, plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """All figures; `kills` counts every fault, whatever its kind."""
    origin = report.provenance(quick=False)
    struck = [each for each in outcome.struck if each.kind != RESTART]
    kinds = list(dict.fromkeys(each.kind for each in outcome.struck))
    disturbed = [asked for each in struck for asked in each.asked]
    last = outcome.struck[-1].verdict
    return {
        "kills": len(struck),
        "planned": len(plan.faults),
        "acknowledged": outcome.acknowledged,
        "refused": outcome.refused,
        "lost": sum(each.verdict.lost for each in outcome.struck if each.verdict),
        "doubled": sum(each.verdict.doubled for each in outcome.struck if each.verdict),
        "byte_equal": _byte_equal(outcome.struck),
        "recovered": all(
            each.recovery_s is not None and each.failure is None for each in outcome.struck
        ),
        "archive_equal": last is not None and not outcome.archive,
        "kinds": {
            kind: _of_kind([each for each in outcome.struck if each.kind == kind]) for kind in kinds
        },
        "scoring": _answers(outcome.asked),
        "scoring_disturbed": _answers(disturbed) | {"retried": sum(map(_retried, struck))},
        "failures": [line for each in outcome.struck for line in _failures(each)]
        + list(outcome.archive[:5]),
        "seed": plan.seed,
        "deployment": asdict(deployment),
        "users_cold": outcome.users_cold,
        "nodes_given_up": outcome.nodes_given_up,
        "clicks_per_s": plan.clicks_per_s,
        "fault_lasts_s": plan.lasts_s,
        "seconds": round(outcome.seconds, 1),
        "date": origin["date"],
        "commit": origin["commit"],
        "machine": f"{origin['hardware']}, {platform.system()} {platform.release()}",
        "command": origin["command"],
    }


def write(found: dict[str, Any], out: Path, keep: str) -> list[Path]:
    """Write `out`/summary.json, and as a result NAME.json where `keep` is a name: into
    bench/results/raw/, or where `report.kept` says.
    """
    written = [out / "summary.json", *([report.kept(report.RAW) / f"{keep}.json"] if keep else [])]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    return written


def sound(found: dict[str, Any]) -> bool:
    """Whether nothing was lost or doubled, every byte is right, and everything recovered."""
    return (
        found["kills"] == found["planned"]
        and not found["lost"]
        and not found["doubled"]
        and found["byte_equal"]
        and found["recovered"]
        and found["archive_equal"]
    )


def table(found: dict[str, Any]) -> Table:
    """A row a kind of fault."""
    drawn = Table(
        title=(
            f"{found['kills']} faults, {found['acknowledged']:,} clicks acknowledged, seed "
            f"{found['seed']}"
        )
    )
    drawn.add_column("fault")
    for head in (*HEADS, *(figure.replace("_", " ") for figure in SCORING)):
        drawn.add_column(head, justify="right")
    for kind, row in found["kinds"].items():
        times = (*row["recovery_s"].values(), *row["takeover_s"].values())
        drawn.add_row(
            kind,
            *_counts(row),
            _cell(row["repair_s"]["median"]),
            *map(_cell, times),
            *_scores(row["scoring"]),
        )
    drawn.add_section()
    drawn.add_row("all", *_counts(found), *("",) * 5, *_scores(found["scoring_disturbed"]))
    return drawn


def _counts(row: dict[str, Any]) -> list[str]:
    clicks = f"{row['acknowledged']:,}"
    return [
        str(row["kills"]),
        clicks,
        str(row["lost"]),
        str(row["doubled"]),
        _bytes(row["byte_equal"]),
    ]


def _scores(scoring: dict[str, Any]) -> list[str]:
    shown = scoring | {
        "error_rate": f"{scoring['error_rate']:.2%}" if scoring["requests"] else None
    }
    return [_cell(shown.get(figure)) for figure in SCORING]


def _of_kind(struck: Sequence[Struck]) -> dict[str, Any]:
    verdicts = [each.verdict for each in struck if each.verdict]
    return {
        "kills": len(struck),
        "acknowledged": sum(each.acknowledged for each in struck),
        "lost": sum(verdict.lost for verdict in verdicts),
        "doubled": sum(verdict.doubled for verdict in verdicts),
        "byte_equal": _byte_equal(struck),
        "recovery_s": _spread(each.recovery_s for each in struck),
        "takeover_s": _spread(each.takeover_s for each in struck),
        "repair_s": _spread(each.repair_s for each in struck),
        "replaced_s": _spread(each.replaced_s for each in struck),
        "redundant_s": _spread(each.redundant_s for each in struck),
        "silence_s": round(max(each.silence_s for each in struck), 2),
        "scoring": _answers([asked for each in struck for asked in each.asked])
        | {"retried": sum(map(_retried, struck))},
    }


def _byte_equal(struck: Sequence[Struck]) -> bool | None:
    """None where some fault was never reckoned with and no other one differed."""
    if any(each.verdict and not each.verdict.byte_equal for each in struck):
        return False
    return True if all(each.verdict for each in struck) else None


def _bytes(equal: bool | None) -> str:
    return {True: "equal", False: "DIFFER", None: "unknown"}[equal]


def _spread(values: Iterable[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"median": None, "max": None}
    return {"median": round(statistics.median(known), 2), "max": round(max(known), 2)}


def _answers(asked: Sequence[Asked]) -> dict[str, Any]:
    """Errors are what failed after the shipped policy's retries;
    latencies are of good answers, retries included.
    """
    good_ms = [1000 * each.seconds for each in asked if each.code == OK]
    codes = sorted({each.code for each in asked} - {OK})
    errors = len(asked) - len(good_ms)
    p50, p99 = np.percentile(good_ms, (50, 99)).round(1).tolist() if good_ms else (None, None)
    return {
        "requests": len(asked),
        "errors": errors,
        "error_rate": round(errors / max(1, len(asked)), 5),
        "codes": {code: sum(each.code == code for each in asked) for code in codes},
        "stale": sum(each.stale for each in asked),
        "p50_ms": p50,
        "p99_ms": p99,
    }


def _retried(struck: Struck) -> int:
    """Attempts that the gateway refused and the policy made up for or tried
    again: at least so many retries.
    """
    given_up = sum(each.code == "UNAVAILABLE" for each in struck.asked)
    return max(0, struck.refused_attempts - given_up)


def _failures(struck: Struck) -> list[str]:
    said = [struck.failure] if struck.failure else []
    said += struck.verdict.differences if struck.verdict else ()
    return [f"{struck.kind} ({struck.what}): {line}" for line in said]


def _cell(value: object) -> str:
    return "" if value is None else str(value)

"""Questions by how many events their users had before."""

from __future__ import annotations

import numpy as np

from bench import answers
from bench.accuracy.states import short
from tests.training.logs import cyclic_log
from training.data.sequences import Histories, Vocabulary
from training.fit.allocation import prepare_process
from training.measure.ranking import Ranking

LOG = cyclic_log()
HISTORIES = Histories.of(LOG, Vocabulary.of(LOG, hashed=4))


def test_first_events_are_asked_about_too() -> None:
    """From a moment on, each event of a known item, at most so many of each group."""
    targets = short.questions(HISTORIES, 0, 12, 30, seed=0)
    groups = short.groups_of(HISTORIES, targets)
    assert (np.diff(targets) > 0).all()
    # 40 users of 9 events: 40 questions after 0, 1, 2 events, and more in the wider groups
    assert np.bincount(groups).tolist() == [30, 30, 30, 30, 30]
    assert (targets[groups == 0] % 9 == 0).all()
    late = short.questions(HISTORIES, int(HISTORIES.times_ms.max()), 12, 30, seed=0)
    assert late.tolist() == [len(HISTORIES.items) - 1]


def test_a_row_has_the_figures_of_its_group_alone() -> None:
    """The best of each row is bold; groups without questions have no row."""
    ranks = {"recommend": [1, 1, 11, 11], "popularity": [2, 2, 2, 2]}
    found = {
        name: Ranking(plain=np.array(each), excluded=np.array(each)) for name, each in ranks.items()
    }
    rows = short.rows_of(found, np.array([0, 0, 4, 4]))
    assert [(row["events"], row["questions"]) for row in rows] == [("0", 2), ("5 to 9", 2)]
    assert rows[0]["figures"]["recommend"] == {"hr10": 1.0, "ndcg10": 1.0}
    assert rows[1]["figures"]["recommend"] == {"hr10": 0.0, "ndcg10": 0.0}
    page = short.markdown({"made up": rows}, {"seed": "0"})
    assert "| 0 | 2 | **1.0000 / 1.0000** | 1.0000 / 0.6309 |" in page
    assert "| 5 to 9 | 2 | 0.0000 / 0.0000 | **1.0000 / 0.6309** |" in page


def test_a_small_log_is_learned_and_asked() -> None:
    """Everybody answers the same questions; who walks in a circle is foreseen from the first step
    by what followed it before.
    """
    prepare_process()
    run, rows = short.measure("circle", LOG, minutes=0.03, seed=0, each_max=50)
    assert run.checkpoint.metadata["data_set"] == "circle"
    [row] = rows  # the newest fifth of the log: after 7 and 8 events
    assert row["events"] == "5 to 9"
    figures = row["figures"]
    assert set(figures) == {"recommend", "popularity", *short.METHODS}
    assert figures["sequential-rules"]["ndcg10"] > figures["popularity"]["ndcg10"]
    answer = answers.short({"data": {"circle": [{**row, "events": "1"}]}})
    assert answer.startswith("NDCG@10 on circle: after 1 ")

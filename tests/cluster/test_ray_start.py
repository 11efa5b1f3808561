"""Starting Ray: slow machines get a second try, other errors none."""

from __future__ import annotations

import pytest

from cluster import ray_start
from cluster.config import RaySettings


def fail_first(monkeypatch: pytest.MonkeyPatch, message: str) -> list[str]:
    """Let Ray's first start fail with `message`; the list grows with each start."""
    starts: list[str] = []

    def init(*, namespace: str, **_: object) -> None:
        starts.append(namespace)
        if len(starts) == 1:
            raise Exception(message)

    monkeypatch.setattr(ray_start.ray, "init", init)
    monkeypatch.setattr(ray_start.ray, "shutdown", lambda: None)
    return starts


def test_a_slow_start_of_ray_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives its own processes 30 s, which a busy machine may exceed."""
    starts = fail_first(monkeypatch, "The current node timed out during startup. This could happen because ...")
    ray_start.start_ray(RaySettings(), show_logs=False)
    assert starts == ["echorank", "echorank"]


def test_other_errors_of_ray_are_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is not tried again."""
    starts = fail_first(monkeypatch, "no cluster at that address")
    with pytest.raises(Exception, match="no cluster"):
        ray_start.start_ray(RaySettings(), show_logs=False)
    assert len(starts) == 1

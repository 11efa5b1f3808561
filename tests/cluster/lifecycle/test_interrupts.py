"""Signals that come while something starts wait until it has started."""

from __future__ import annotations

import os
import signal

import pytest

from cluster.lifecycle import interrupts

pytestmark = pytest.mark.usefixtures("usual_signals")


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    """What starts gets as far as it must; then KeyboardInterrupt,
    and the handlers are those of before.
    """
    interrupts.end_like_ctrl_c()
    done: list[str] = []

    def start() -> None:
        with interrupts.held_back():
            os.kill(os.getpid(), number)
            done.append("started")
        done.append("not interrupted")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]
    assert {signal.getsignal(each) for each in interrupts.SIGNALS} == {signal.default_int_handler}


def test_a_second_signal_does_not_wait() -> None:
    """Whoever is impatient is heard, once."""
    interrupts.end_like_ctrl_c()
    done: list[str] = []

    def start() -> None:
        with interrupts.held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("held back")
            os.kill(os.getpid(), signal.SIGINT)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["held back"]


def test_a_start_that_fails_after_a_signal_ends_by_the_signal() -> None:
    """As one that did not fail: the exit code is that of an orderly end."""
    interrupts.end_like_ctrl_c()

    def start() -> None:
        with interrupts.held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("no room")

    with pytest.raises(KeyboardInterrupt):
        start()


def test_nothing_is_tried_again_after_a_signal() -> None:
    """Between two tries it is looked whether one waits."""
    interrupts.end_like_ctrl_c()
    with interrupts.held_back() as held:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            held.check()


def test_a_signal_without_a_handler_is_left_alone() -> None:
    """A process that never asked for order ends as the system has it;
    nothing is raised where no signal came.
    """
    with interrupts.held_back() as held:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        held.check()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

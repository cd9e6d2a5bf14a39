"""Signals: one asks for a stop, and systems without SIGHUP have one signal less."""

import os
import signal
from pathlib import Path

import pytest

from fewmask.core.errors import Interrupted
from fewmask.core.signals import listen, stopping

SIGNALS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_a_stop_and_is_said_without_the_word_error(number) -> None:
    with listen() as asked:
        os.kill(os.getpid(), number)
        assert asked.signal == number
    told = asked.interrupted("after step 3 of 9", Path("run"))
    assert str(told).startswith("stopped by a signal after step 3 of 9")
    assert "the same command resumes" in str(told) and told.exit_code == 128 + number


def test_a_system_without_sighup_is_listened_to_as_well(monkeypatch) -> None:
    """Windows has none."""
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with listen() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
def test_work_of_whole_files_stops_at_once(number, tmp_path) -> None:
    """130, 143 and 129, through everything that catches the faults of one case."""
    with pytest.raises(Interrupted) as caught, stopping("predicting", tmp_path):
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("not stopped")
        except Exception:
            raise AssertionError("caught as if it were a fault of one case") from None
    assert caught.value.exit_code == 128 + number
    assert "the same command goes on" in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_outermost_listener_gets_the_signal(tmp_path) -> None:
    """A run that predicts between its steps is stopped as a run: after its step, with a save."""
    with listen() as asked:
        with stopping("predicting", tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM

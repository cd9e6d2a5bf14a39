"""Signals: one asks for a stop, and systems without SIGHUP have one signal less."""

import os
import signal
from pathlib import Path

import pytest

from fewmask.training.signals import listen

SIGNALS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_a_stop_and_is_said_without_the_word_error(number) -> None:
    with listen() as asked:
        os.kill(os.getpid(), number)
        assert asked.signal == number
    told = asked.interrupted("after step 3 of 9", Path("run"))
    assert str(told).startswith("stopped by a signal after step 3 of 9")
    assert "the same command resumes" in str(told) and told.exit_code == 143


def test_a_system_without_sighup_is_listened_to_as_well(monkeypatch) -> None:
    """Windows has none."""
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with listen() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before

"""Progress on terminals of any width and in logs; lines, hints and results."""

import io
import json
import re

import pytest

from fewmask.cli import progress as module
from fewmask.cli.console import Console
from fewmask.cli.progress import Event, Progress, duration, losses_text
from fewmask.core.words import count
from fewmask.training import ProgressEvent

LOSSES = {"classify": 0.663, "guide": 2.36, "dice": 0.058, "ce": 0.009, "score": 0.012}


class Terminal(io.StringIO):
    """A terminal that is `width` columns wide; `rows` is what a person sees on it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        rows, row, column = [""], 0, 0
        for code, up, text in re.findall(
            r"(\x1b\[(?:(\d*)A|[\d;?]*[a-zA-Z]))|([^\x1b])", self.getvalue()
        ):
            if code and code.endswith("A"):
                row -= int(up or 1)
            elif code == "\x1b[2K":
                rows[row] = ""
            elif text == "\r":
                column = 0
            elif text == "\n" or (text and column == self.width):
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            if text not in ("", "\r", "\n"):
                rows[row] = rows[row].ljust(column)[:column] + text + rows[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in rows if line.strip()]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def training(done: int, total: int = 400) -> Event:
    text = losses_text(LOSSES)
    more = "2.60 s a step, saved at step 0"
    return Event("train", done, total, f"step {done} of {total}", more, text, 2.6 * (total - done))


@pytest.mark.parametrize("width", [40, 60, 80, 110, 200])
def test_a_hundred_steps_take_two_rows_at_any_width(clock, monkeypatch, width) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal(width)
    progress = Progress(stream=terminal)
    for done in range(1, 101):
        clock.now += 2.6
        progress.show(training(done))
    rows = terminal.rows
    assert len(rows) == 2 and all(len(row) <= width for row in rows)
    assert rows[0].startswith("step 100 of 400, 13 min 00 s left")
    assert rows[1].startswith("loss 3.102 (classify 0.663")
    assert ("dice loss 0.058" in rows[1]) == (width >= 60)


def test_a_line_between_steps_stays_above_what_is_drawn(clock, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal(80)
    progress = Progress(stream=terminal)
    progress.show(training(1))
    progress.clear()
    terminal.write("resumes after step 1\n")
    progress.show(training(2))
    clock.now += 1
    progress.show(training(3))
    assert terminal.rows[0] == "resumes after step 1"
    assert terminal.rows[1].startswith("step 3 of 400") and len(terminal.rows) == 3


def test_the_last_state_stays_on_the_terminal_and_the_cursor_comes_back(clock, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal(80)
    progress = Progress(stream=terminal)
    for done in (1, 2, 3):
        progress.show(training(done, 3))
    progress.clear()
    assert terminal.rows[0].startswith("step 3 of 3, 2.60 s a step")
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


def lines(clock, seconds: float, total: int, **options: bool) -> list[str]:
    """What a log gets of `total` steps of so many seconds."""
    log = io.StringIO()
    progress = Progress(stream=log, **options)
    for done in range(1, total + 1):
        clock.now += seconds
        progress.show(Event("train", done, total, f"step {done} of {total}"))
    return log.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "total", "shown"),
    [
        (0.01, 400, [1, 400]),  # 4 s: nothing between start and end
        (1.0, 100, [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]),  # ten seconds are a tenth
        (5.0, 20, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20]),  # two steps are a tenth
        (400.0, 100, [*range(1, 101, 2), 100]),  # a tenth takes an hour: every ten minutes
    ],
)
def test_a_log_gets_a_line_now_and_then(clock, seconds, total, shown) -> None:
    found = [int(line.split()[1]) for line in lines(clock, seconds, total)]
    assert found == shown


def test_the_next_run_of_a_sweep_begins_anew(clock) -> None:
    log = io.StringIO()
    progress = Progress(stream=log)
    for done in [1, 2, 3, 4, 1, 2, 3, 4]:
        progress.show(Event("train", done, 4, f"step {done} of 4"))
    assert log.getvalue().split("\n") == ["step 1 of 4", "step 4 of 4"] * 2 + [""]


def test_verbose_logs_get_a_line_every_ten_seconds(clock) -> None:
    assert len(lines(clock, 1.0, 1000, every_line=True)) == 101


def test_scans_count_down_by_their_own_pace(clock, capsys) -> None:
    show = Console().count_items("scans predicted")
    for done, case in enumerate(["a", "b", "c", "d"], 1):
        show(ProgressEvent("scan", done, 4, item=case))
        clock.now += 20
    assert capsys.readouterr().err.splitlines() == [
        "scans predicted: 1 of 4, a",
        "scans predicted: 2 of 4, 40 s left, b",
        "scans predicted: 3 of 4, 20 s left, c",
        "scans predicted: 4 of 4, d",
    ]


def test_timing_before_the_first_step_is_counted(capsys) -> None:
    event = ProgressEvent("step", 7, 20, note="timing 20 steps on this machine: 7 of 20")
    Console().show_training(event)
    assert capsys.readouterr().err == "timing 20 steps on this machine: 7 of 20\n"


def test_a_step_shows_losses_as_losses_and_its_note_before(capsys) -> None:
    losses = {"dice": 0.25, "ce": 0.5}
    event = ProgressEvent("step", 4, 9, 1.5, 7.5, "", losses, 2, "resumes after step 3")
    Console().show_training(event)
    out, err = capsys.readouterr()
    assert out == "resumes after step 3\n"
    assert err == (
        "step 4 of 9, 8 s left, 1.50 s a step, saved at step 2  "
        "loss 0.750 (dice loss 0.250, ce 0.500)\n"
    )


def test_quiet_keeps_what_was_asked_for_and_what_is_wrong(capsys) -> None:
    console = Console(quiet=True)
    console.count_items("scans read")(ProgressEvent("scan", 1, 2, item="a"))
    console.hint("note: nothing")
    console.say("Dice 0.9")
    console.warn("case_01: cut off")
    assert capsys.readouterr() == ("Dice 0.9\n", "case_01: cut off\n")


def test_json_is_alone_on_stdout(capsys) -> None:
    console = Console(json=True)
    console.say("Dice 0.9")
    console.result({"dice": 0.9, "distance": float("nan")})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"dice": 0.9, "distance": None} and err == "Dice 0.9\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(47.6, "48 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations(seconds, words) -> None:
    assert duration(seconds) == words


def test_one_is_one() -> None:
    assert (count(1, "scan"), count(0, "scan"), count(2, "scan")) == (
        "1 scan",
        "0 scans",
        "2 scans",
    )

"""Training progress as lines."""

from fewmask.cli.console import Console
from fewmask.cli.train import show_progress
from fewmask.training import ProgressEvent


def test_work_without_steps_shows_its_own_words_and_no_stale_step(capsys) -> None:
    show_progress(Console(json=False, debug=False))(
        ProgressEvent("scan", 2, 2, note="finetune: 2 of 2 scans labelled")
    )
    out, err = capsys.readouterr()
    assert (out, err) == ("", "finetune: 2 of 2 scans labelled\n")


def test_a_step_shows_rate_losses_and_what_is_saved(capsys) -> None:
    show_progress(Console(json=False, debug=False))(
        ProgressEvent(
            "step", 4, 4, 1.5, 0.0, "", {"dice": 0.25}, saved_step=2, note="goes on from step 2"
        )
    )
    out, err = capsys.readouterr()
    assert out == "goes on from step 2\n"
    assert err == "step 4 of 4  1.50 s/step  0 s left  dice 0.250  saved 2\n"

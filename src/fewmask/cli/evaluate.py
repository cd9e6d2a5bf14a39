"""`fewmask evaluate`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console, count
from fewmask.core.errors import BadConfig

if TYPE_CHECKING:
    from fewmask.benchmark.score import ScoreSummary


@verb(("fewmask evaluate run --oracle-box", "fewmask evaluate masks truth --label liver=6"))
def evaluate(
    context: typer.Context,
    pred: Path = typer.Argument(..., help="A run folder (its test scans are scored), or masks."),
    truth: Path | None = typer.Argument(
        None, help="True label maps of the same file names; not for a run folder."
    ),
    label: list[str] = options.LABEL,
    oracle_box: bool = typer.Option(
        False, "--oracle-box", help="Add the bound: the same model prompted with true boxes."
    ),
    protocol: str = typer.Option(
        "default", help="default, sam-mix (256 grid, pixels) or la-2018 (voxels)."
    ),
    out: Path | None = typer.Option(
        None, help="Table of scores; for a run folder always its metrics.csv."
    ),
    device: str | None = options.DEVICE,
) -> None:
    """Score masks against truth: per volume, in millimetres, empties counted, with t intervals
    over patients.
    """
    from fewmask.benchmark.score import protocol_lines, score_folders, score_run
    from fewmask.evaluate.protocols import NOTES, PROTOCOLS
    from fewmask.predict import load_predictor
    from fewmask.prepare.mapping import parse_labels

    console: Console = context.obj
    options.existing(pred, "folder")
    options.one_of("--protocol", protocol, PROTOCOLS)
    if truth is None:
        predictor = load_predictor(pred, device) if device is not None else None
        summary = score_run(pred, oracle_box=oracle_box, predictor=predictor, say=console.step)
        console.say(f"scores in {pred / 'metrics.csv'}")
    else:
        if oracle_box:
            raise BadConfig(
                "--oracle-box needs the model",
                fix="fewmask evaluate RUN --oracle-box",
                code="C02",
            )
        summary = score_folders(
            pred, options.existing(truth, "folder"), parse_labels(label) or None, out
        )
    _show(console, summary)
    lines = []
    if protocol != "default":
        cases = {score.case for score in summary.scores}
        lines = protocol_lines(pred, truth, parse_labels(label) or None, protocol, cases)
        for line in lines:
            words = (
                f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in line.items()
            )
            console.say("  ".join(words))
    if protocol in NOTES:
        console.hint(NOTES[protocol])
        console.hint(
            "The protocol has windows 4, 18, 18 voxels apart (predict --stride 4,18,18); "
            "without that, half a window."
        )
    console.result(
        {
            "summaries": summary.summaries,
            "scores": summary.scores,
            "refused": summary.refused,
            "unpredicted": summary.unpredicted,
            "protocol": lines,
        }
    )
    options.partly(
        summary.refused, len({score.case for score in summary.scores}), "they were not scored"
    )


def _show(console: Console, summary: "ScoreSummary") -> None:
    order = {s.label: place for place, s in reversed(list(enumerate(summary.summaries)))}
    wide = max((len(label) for label in order), default=0)
    for score in sorted(summary.scores, key=lambda s: (s.prompts, order[s.label], s.case)):
        numbers = (
            f"Dice {score.dice:.3f}  NSD {score.nsd:.3f}  HD95 {score.hd95_mm:.1f} mm  ASSD "
            f"{score.assd_mm:.1f} mm"
        )
        numbers = "" if math.isnan(score.dice) else numbers
        status = "" if score.status == "ok" else score.status
        console.say(
            f"  {score.case:24} {score.label:{wide}} {score.prompts:10} "
            f"{numbers}  {status}".rstrip()
        )
    for s in summary.summaries:
        d = s.dice
        console.say(
            f"{s.label} ({s.prompts}): Dice {d.mean:.3f} ({d.ends(3)}), n {s.n}, "
            f"missed {s.n_missed}, spurious {s.n_spurious}, both empty {s.n_both_empty}"
        )
    if any(math.isnan(s.dice.low) and s.n for s in summary.summaries):
        console.hint("note: one patient has no interval (-): it takes two")
    if summary.unpredicted:
        names = ", ".join(summary.unpredicted[:5])
        more = " ..." if len(summary.unpredicted) > 5 else ""
        console.hint(
            f"note: {count(len(summary.unpredicted), 'truth')} without a mask, not counted "
            f"({names}{more})"
        )
    for line in summary.refused:
        console.warn("\n" + options.explain(line))

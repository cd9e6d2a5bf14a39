"""`fewmask evaluate`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.errors import BadConfig
from fewmask.core.words import count

if TYPE_CHECKING:
    from fewmask.benchmark.score import ScoreSummary
    from fewmask.prepare.options import ScanOptions


@verb(("fewmask evaluate run --oracle-box", "fewmask evaluate masks truth --label liver=6"))
@reads_scans
def evaluate(
    context: typer.Context,
    scans: "ScanOptions",
    pred: Path = typer.Argument(
        ..., help="A run folder (its test scans are scored), a mask or a folder of masks."
    ),
    truth: Path | None = typer.Argument(
        None, help="True label maps, paired by name; not for a run folder."
    ),
    label: list[str] = options.LABEL,
    same_values: bool = typer.Option(
        False,
        "--same-values",
        help="The masks hold the truth's values of --label, not the numbers of the classes.",
    ),
    masks: str = typer.Option(
        "auto",
        help=(
            "Slices of a truth without outline are unknown (partial) or empty (complete); auto: "
            "unknown where most outlined slices stand alone."
        ),
    ),
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
    from fewmask.benchmark.matched import Outlined
    from fewmask.benchmark.score import protocol_lines, score_folders, score_run
    from fewmask.evaluate.protocols import NOTES, PROTOCOLS
    from fewmask.predict import load_predictor
    from fewmask.prepare.mapping import parse_labels
    from fewmask.prepare.options import AS_THEY_ARE

    console: Console = context.obj
    options.existing(pred, "file or folder")
    options.one_of("--protocol", protocol, PROTOCOLS)
    options.one_of("--masks", masks, get_args(Outlined))
    chosen: dict[str, Any] = {"same_values": same_values, "masks": masks, "scans": scans}
    if truth is not None:
        options.refuse_idle(context, ("device",), "no mask is predicted where there is a truth")
    if truth is None:
        mine = ("label", "same_values", "masks", "out")
        options.refuse_idle(context, mine, "a run knows its structures, and has its metrics.csv")
        if scans != AS_THEY_ARE:
            raise BadConfig(
                "how masks are read can be said of folders of masks; a run knows its own",
                fix="leave these flags out, or give masks and truth",
                code="C02",
            )
        predictor = load_predictor(pred, device) if device is not None else None
        summary = score_run(
            pred,
            oracle_box=oracle_box,
            predictor=predictor,
            on_progress=console.count_items("scans predicted"),
            say=console.step,
        )
        console.say(f"scores in {pred / 'metrics.csv'}")
    else:
        if oracle_box:
            raise BadConfig(
                "--oracle-box needs the model",
                fix="fewmask evaluate RUN --oracle-box",
                code="C02",
            )
        summary = score_folders(
            pred,
            options.existing(truth, "file or folder"),
            parse_labels(label) or None,
            out,
            on_progress=console.count_items("masks scored"),
            **chosen,
        )
    _show(console, summary)
    lines = []
    if protocol != "default":
        cases = {score.case for score in summary.scores}
        lines = protocol_lines(pred, truth, parse_labels(label) or None, protocol, cases, **chosen)
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
            "without_truth": summary.without_truth,
            "notes": summary.notes,
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
    for names, what, other in (
        (summary.unpredicted, "truth", "mask"),
        (summary.without_truth, "mask", "truth"),
    ):
        if names:
            some = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            console.hint(f"note: {count(len(names), what)} without a {other}, not counted ({some})")
    for note in summary.notes:
        console.warn(f"note: {note}")
    for line in summary.refused:
        console.warn("\n" + options.explain(line))

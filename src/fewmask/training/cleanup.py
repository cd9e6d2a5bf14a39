"""At the end of a run: which clean-up its labelled scans speak for. Nothing but masks of the budget
and tags is looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fewmask.cleanup.learn import LEAST_SLICES, Evidence, Tally, decide, too_few, weigh
from fewmask.cleanup.rule import CleanupRule, StructureRule
from fewmask.core.budget import Budget
from fewmask.core.errors import FewmaskError
from fewmask.core.progress import OnProgress, Pace
from fewmask.core.randomness import permutation
from fewmask.core.signals import listen
from fewmask.data.label_guard import LabelGuard
from fewmask.io.known import WHY_EMPTY
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import Predicts
from fewmask.predict.work import load_prepared

Granted = dict[str, list[int]]
"""Case -> the d of its outlined slices."""
MOST_SCANS = 20
"""Labelled scans that are predicted for it; of more the seed draws this many."""


def learn_cleanup(
    run: RunFolder,
    predictor: Predicts,
    prepared: Prepared,
    budget: Budget,
    on_progress: OnProgress,
) -> None:
    """Predict labelled training scans, learn the rule, and write `cleanup.json`; see
    `learn_rule`.
    """

    def draw(case: str) -> UInt8[np.ndarray, "d h w"]:
        return predictor.volume(load_prepared(prepared, case)).label_map.voxels

    record = run.read_record()
    rule = learn_rule(
        draw, prepared, budget, record.seed, on_progress, saved=record.steps, where=run.path
    )
    run.write_cleanup(rule.as_dict())


def learn_rule(
    draw: Callable[[str], UInt8[np.ndarray, "d h w"]],
    prepared: Prepared,
    budget: Budget,
    seed: int,
    on_progress: OnProgress,
    saved: int,
    where: Path,
) -> CleanupRule:
    """Weigh every rule against masks and tags of labelled training scans; `draw` gives a scan's
    label map.

    Only structures with four outlined slices or more can have a rule; where none has, no scan is
    asked for. Masks of one scan are held at a time. Raises `Interrupted` on a signal or when the
    callback asks to stop; the next time it begins anew. Where a scan cannot be predicted nothing is
    removed, and the reason says why.
    """
    gate = LabelGuard(prepared, budget)
    granted = granted_slices(gate)
    chosen, note = _choose(granted, seed)
    outlined = _count_outlines(gate, chosen, prepared.classes)
    rules = {name: StructureRule(reason=_few(count, budget)) for name, count in outlined.items()}
    tallies = {name: Tally() for name, count in outlined.items() if count >= LEAST_SLICES}
    scans = chosen if tallies else {}
    pace, problem = Pace("scan", len(scans)), ""
    with listen() as asked:
        for done, (case, slices) in enumerate(scans.items(), 1):
            try:
                labels = draw(case)
            except FewmaskError as error:  # the weights are worth keeping all the same
                problem = f"{case} could not be predicted: {error.what}"
                break
            for name, evidence in _evidence(prepared, case, labels, gate, slices):
                if name in tallies:
                    tallies[name] += weigh(evidence)
            text = f"clean-up: {done} of {len(scans)} scans seen"
            event = pace.event(done, item=case, saved_step=saved, note=text)
            asked.by_caller |= bool(on_progress(event))
            if asked.stop and done < len(scans):
                raise asked.interrupted(f"with {text}", where)
    for name, tally in tallies.items():
        rule = StructureRule(reason=problem) if problem else decide(tally)
        rules[name] = replace(rule, reason=f"{rule.reason}{note}")
    if problem:
        on_progress(pace.event(len(scans), saved_step=saved, note=f"no clean-up: {problem}"))
    elif missed := [name for name, tally in tallies.items() if not tally.seen]:
        text = f"F18: {', '.join(missed)} not found in any slice that it learned from; {WHY_EMPTY}"
        on_progress(pace.event(len(scans), saved_step=saved, note=text))
    return CleanupRule(rules)


def granted_slices(gate: LabelGuard) -> Granted:
    """All outlined slices of the budget."""
    granted: Granted = {}
    for case, d in gate.granted():
        granted.setdefault(case, []).append(d)
    return granted


def _choose(granted: Granted, seed: int) -> tuple[Granted, str]:
    """The scans to learn from, and what to say if they are not all."""
    cases = sorted(granted)
    if len(cases) <= MOST_SCANS:
        return {case: granted[case] for case in cases}, ""
    order = permutation(len(cases), seed, "cleanup")[:MOST_SCANS]
    chosen = {cases[place]: granted[cases[place]] for place in sorted(order)}
    return chosen, f"; learned from {MOST_SCANS} of {len(cases)} labelled scans"


def _count_outlines(gate: LabelGuard, chosen: Granted, classes: tuple[str, ...]) -> dict[str, int]:
    """Of every structure, the outlined slices that hold it."""
    counts = dict.fromkeys(classes, 0)
    for case, slices in chosen.items():
        masks = gate.labels(case, slices)
        for number, name in enumerate(classes, 1):
            counts[name] += int((masks == number).any((1, 2)).sum())
    return counts


def _evidence(
    prepared: Prepared,
    case: str,
    labels: UInt8[np.ndarray, "d h w"],
    gate: LabelGuard,
    slices: list[int],
) -> Iterator[tuple[str, Evidence]]:
    """What is known of every structure in one scan: by outlines in `slices`, elsewhere by tags."""
    masks = gate.labels(case, slices)
    others = sorted(set(range(len(labels))) - set(slices))
    tags = {d: prepared.tag(case, d) for d in others}
    for k, name in enumerate(prepared.classes):
        present = tuple(d for d in others if tags[d][k] == 1)
        absent = tuple(d for d in others if tags[d][k] == 0)
        yield name, Evidence(labels == k + 1, masks == k + 1, tuple(slices), present, absent)


def _few(slices: int, budget: Budget) -> str:
    """Why a structure that was hardly outlined has no rule."""
    if not budget.masks:
        return "no outlined slice: nothing to learn a rule from"
    return too_few(slices)

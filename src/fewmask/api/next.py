"""Which slices to outline next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.api.arguments import File, checked, path_or_none
from fewmask.core.progress import OnProgress, ignore_progress
from fewmask.predict.entropy import suggest
from fewmask.quality.next import DEFAULT_RULE, PER_SCAN, Rule, Suggestion


@checked
def next_slices(
    run: File,
    n: int = 10,
    *,
    rule: Rule = DEFAULT_RULE,
    scans: File | None = None,
    seed: int = 0,
    known: Mapping[str, Any] | None = None,
    per_scan: int = PER_SCAN,
    device: str | None = None,
    predict: bool = True,
    on_progress: OnProgress = ignore_progress,
) -> list[Suggestion]:
    """Up to n slices to outline next, the first one first: spread over patients, none that is
    outlined or declared empty. The same call gives the same slices.

    Parameters
    ----------
    run
        Run folder of `train`.
    n
        How many slices.
    rule
        `random` (uniform over slices that hold a structure, as tags or the predicted mask say),
        `spread` (evenly along each structure), `entropy` (where the run is unsure), `mixed` (and
        far from outlines so far). docs/next.md says what each has won.
    scans
        Prepared dataset, of which scans of the training part are suggested, or a folder of scans;
        None is the dataset that the run learned from.
    seed
        Another seed, other slices.
    known
        Case -> slices d (0 = feet) that are outlined or declared empty, in place of those that the
        dataset knows.
    per_scan
        Most slices of one scan.
    device
        `cpu`, `cuda`, `cuda:1`; None takes a GPU if there is one.
    predict
        Predict scans of which the run has not said yet how unsure it is; else they count as usual
        ones. What it said is kept beside its masks.
    on_progress
        Called with a `ProgressEvent` after each scan.

    Returns
    -------
    list of Suggestion
        With `case`, `d` (0 = feet), `slice` (in the order of the file, from 0), `structure` and
        `reason`. Fewer than n where fewer are free; empty where every slice is outlined, as in a
        dataset of complete masks.

    Raises
    ------
    BadCheckpoint
        The run is not finished.
    BadConfig
        n is below 1, or a rule wants doubt of a program that gives no probabilities.
    BadDataset
        The dataset has other structures than the run.

    Examples
    --------
    >>> fewmask.next_slices("run")  # every slice of these scans is outlined
    []
    >>> some = fewmask.next_slices("run", 2, known={})  # as if none was
    >>> [(one.case != "phantom_00", one.structure) for one in some]
    [(True, 'liver'), (True, 'liver')]
    """
    held = None if known is None else {case: list(slices) for case, slices in known.items()}
    return suggest(
        Path(run),
        path_or_none(scans),
        n,
        rule,
        seed,
        known=held,
        per_scan=per_scan,
        device=device,
        predict=predict,
        on_progress=on_progress,
    )

"""Quality without truth: how well the signs of a mask say its Dice.

    python experiments/quality.py measure SET RUN DATA [RUN DATA ...]   # rows, appended
    python experiments/quality.py fit                                   # table and numbers

`measure` predicts the scans that RUN kept aside (test part of its split) and scores them against
DATA/labels; SET is the name of the data set. `fit` prints the table of docs/quality.md, where every
row was predicted by a mapping that saw no scan of the row's set, and the numbers of the shipped
mapping (src/fewmask/quality/prior.py), fitted to all rows. Needs FEWMASK_DATA for nothing: DATA is
the folder with images/ and labels/.
"""

import json
import sys
from pathlib import Path

import numpy as np

from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels, read_volume
from fewmask.io.run import RunFolder
from fewmask.io.tables import append_csv
from fewmask.predict import load_predictor, open_cleanup
from fewmask.predict.quality import look_at

ROWS = Path(__file__).parent / "rows" / "quality.csv"
COLUMNS = ("set", "method", "budget", "draw", "case", "structure", "signs", "dice")


def dice_of(mask: np.ndarray, truth: np.ndarray) -> float | None:
    """None where the scan lacks the structure."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())) if truth.any() else None


def measure(name: str, run: Path, data: Path, kept_aside: tuple[str, ...] = ()) -> None:
    """Append a row per kept-aside scan and structure."""
    record, folder = RunFolder.open(run).read_record(), RunFolder.open(run)
    predictor, cleanup = load_predictor(run), open_cleanup(run)
    predictor.with_confidence = True
    for case in kept_aside or folder.read_split().test:
        volume = read_volume(data / "images" / f"{case}.nii.gz")
        truth = read_labels(data / "labels" / f"{case}.nii.gz").voxels
        drawn = predictor.volume(volume)
        signs = look_at(drawn, cleanup.apply(drawn), volume, record.task.k)
        mask: LabelMap = cleanup.apply(drawn).label_map
        rows = []
        for number, (structure, value) in enumerate(record.labels or [], 1):
            wanted = truth == int(value)
            rows.append(
                {
                    "set": name,
                    "method": record.method,
                    "budget": record.provided.labelled_slices,
                    "draw": run.parent.name if run.name == "run" else run.name,
                    "case": case,
                    "structure": structure,
                    "signs": json.dumps(signs[number - 1].as_dict()),
                    "dice": dice_of(mask.voxels == number, wanted),
                }
            )
        append_csv(ROWS, COLUMNS, rows)
        print(name, run, case, rows[0]["dice"], signs[0].expected, flush=True)


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "measure":
        name, *pairs = words
        for run, data in zip(pairs[::2], pairs[1::2], strict=True):
            cases = tuple(p.name[:-7] for p in sorted(Path(data, "images").glob("*.nii.gz")))
            measure(name, Path(run), Path(data), cases if name == "ct-other" else ())

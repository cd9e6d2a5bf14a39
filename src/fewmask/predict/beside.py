"""What `predict` writes beside masks about how good they may be: signs, maps of probabilities, and
the tables of the folder.
"""

from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadConfig
from fewmask.core.volume import Volume
from fewmask.io.prepared import Prepared, is_prepared
from fewmask.predict.cleanup import Cleanup
from fewmask.predict.finish import Finished, draw_scan, finish_drawn
from fewmask.predict.known import Known, KnownScans
from fewmask.predict.maps import map_paths, write_maps
from fewmask.predict.mean import MeanPredictor, zeros_or_file
from fewmask.predict.predictor import Prediction, Predictor, Predicts
from fewmask.quality.beside import Seen, signs_path, write_signs
from fewmask.quality.tables import Calibration, Judged, write_tables


@dataclass(frozen=True)
class Beside:
    """The files beside masks of one folder."""

    out: Path
    classes: tuple[str, ...]
    """Names of the structures 1, 2, ...; without them there are no such files."""
    probabilities: bool

    def has_all(self, case: str) -> bool:
        """Are the files of a case there? Beside a mask of an earlier version are no signs."""
        wanted = [signs_path(self.out, case)] if self.classes else []
        if self.probabilities:
            wanted += map_paths(self.out, case, self.classes)
        return all(path.is_file() for path in wanted)

    def draw(
        self, case: str, predictor: Predicts, volume: Volume, said: Known | None
    ) -> Prediction:
        """What the network draws; maps of its probabilities are written."""
        if not self.probabilities:
            return draw_scan(predictor, volume, said)
        with zeros_or_file((len(self.classes) + 1, *volume.shape)) as maps:
            drawn = draw_scan(predictor, volume, said, maps)
            write_maps(self.out, case, self.classes, maps, volume.grid)
        return drawn

    def finish(
        self,
        case: str,
        mask: Path,
        drawn: Prediction,
        volume: Volume,
        said: Known | None,
        cleanup: Cleanup,
    ) -> Finished:
        """The mask as it will be written; signs of how good it may be, which are gone by then, are
        written.
        """
        finished = finish_drawn(drawn, volume, said, cleanup, self.classes)
        if self.classes:
            name = mask.relative_to(self.out).as_posix()
            write_signs(self.out, Seen(case, finished.signs, name, finished.outlined))
        return finished

    def write_tables(
        self, source: Path, calibration: Calibration, slices_from: int | None
    ) -> list[Judged]:
        """`quality.csv` and `volumes.csv` of all masks in the folder; their rows. The first slice
        is called `slices_from`; None: 0, or what the prepared dataset `source` says.
        """
        if not self.classes:
            return []
        if slices_from is None:
            said = Prepared.open(source).options if is_prepared(source) else {}
            slices_from = int(said.get("slices_from", 0))
        return write_tables(self.out, calibration, slices_from)


def open_beside(predictor: Predicts, out: Path, known: KnownScans, probabilities: bool) -> Beside:
    """The files beside masks of `out`; tells the predictor to say how sure it is.

    Raises `BadConfig` (C02) where probabilities are asked of what has none.
    """
    task = None
    if isinstance(predictor, Predictor | MeanPredictor):
        predictor.with_confidence, task = True, predictor.task
    elif probabilities:
        raise BadConfig(
            "the method gives no probabilities",
            did="nothing was written",
            fix="leave `probabilities` out",
            code="C02",
        )
    classes = known.classes or (tuple(task.classes) if task else ())
    return Beside(out, classes, probabilities)

"""`volumes.csv`: how large each structure is, where it begins and ends, and how bright it is."""

from collections.abc import Iterator, Sequence

from fewmask.quality.beside import Seen

FILE = "volumes.csv"
COLUMNS = ("case", "structure", "ml", "first_slice", "last_slice", "pieces", "mean_intensity")


def volume_rows(scans: Sequence[Seen], slices_from: int = 0) -> Iterator[dict[str, object]]:
    """A row per scan and structure; slices are counted as the file counts them, the first one
    `slices_from`. An empty structure has 0 mL, no pieces, and empty cells for the rest.
    """
    for seen in scans:
        for name, one in seen.signs.items():
            bright = one.mean_intensity
            yield {
                "case": seen.case,
                "structure": name,
                "ml": round(one.ml, 3),
                "first_slice": None if one.first is None else one.first + slices_from,
                "last_slice": None if one.last is None else one.last + slices_from,
                "pieces": one.pieces,
                "mean_intensity": None if bright is None else float(f"{bright:.5g}"),
            }

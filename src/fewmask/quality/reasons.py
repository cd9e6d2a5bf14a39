"""Why a mask looks doubtful, in words, the most important first."""

from collections.abc import Iterator

from fewmask.core.words import count
from fewmask.quality.signs import Signs

_LARGE_PIECE_ML = 0.05
"""Of the first piece: a second one of less is not worth a word unless there are many."""
_MANY_PIECES = 5
_FAR = 3.0
"""Robust standard deviations at which a volume is worth a word."""


def reasons_of(signs: Signs, volume_score: float = 0.0, usual_ml: float | None = None) -> list[str]:
    """Sentences without a stop, the most important first; nothing where nothing is striking.

    `usual_ml` is the median of the other scans, `volume_score` as of `volume_scores`.
    """
    if not signs.ml:
        tagged = signs.short_of_tags or 0
        said = f", its tags name {count(tagged, 'slice')}" if tagged else ""
        return [f"empty{said}"]
    return [*_against_tags(signs), *_volume(signs, volume_score, usual_ml), *_form(signs)]


def _against_tags(signs: Signs) -> Iterator[str]:
    if signs.short_of_tags and signs.short_of_tags > 1:
        yield f"ends {count(signs.short_of_tags, 'slice')} short of its tags"
    if signs.outside_tags and signs.outside_tags > 1:
        yield f"{count(signs.outside_tags, 'slice')} outside its tags"


def _volume(signs: Signs, score: float, usual_ml: float | None) -> Iterator[str]:
    if usual_ml and abs(score) >= _FAR:
        times = signs.ml / usual_ml
        if times >= 1.5:
            yield f"volume {times:.1f} times that of the others"
        elif times <= 0.67:
            yield f"volume {times:.0%} of that of the others"


def _form(signs: Signs) -> Iterator[str]:
    if len(signs.pieces_ml) > 1:
        second = signs.pieces_ml[1]
        if second >= _LARGE_PIECE_ML * signs.pieces_ml[0]:
            yield f"{signs.pieces} pieces, the second has {_ml(second)}"
        elif signs.pieces >= _MANY_PIECES:
            yield f"{signs.pieces} pieces"
    if signs.gaps:
        yield f"{count(signs.gaps, 'slice')} between its ends {_lack(signs.gaps)} it"
    if signs.removed >= 0.2:
        yield f"{signs.removed:.0%} of what the network drew was taken away"
    if signs.unsure is not None and signs.unsure >= 0.2:
        yield "the network is unsure which slices hold it"
    if signs.likeness is not None and signs.likeness < 0.7:
        yield "neighbouring slices differ much"
    if signs.expected is not None and signs.expected < 0.85:
        yield "the network is unsure of the border"
    if signs.at_end:
        yield "reaches the end of the scan"


def _lack(slices: int) -> str:
    return "lacks" if slices == 1 else "lack"


def _ml(value: float) -> str:
    return f"{value:.0f} mL" if value >= 10 else f"{value:.1f} mL"

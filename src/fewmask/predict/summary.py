"""What came of predicting a folder: its masks, added up scan by scan."""

from dataclasses import dataclass, field
from typing import Any

from fewmask.cleanup.beside import Total
from fewmask.cleanup.rule import Cleaning
from fewmask.core.words import count
from fewmask.io.known import KnownNote, PutIn
from fewmask.predict.work import Drawn
from fewmask.quality.tables import Judged, doubtful


@dataclass
class PredictSummary:
    """What was written and what was refused."""

    written: list[str] = field(default_factory=list)
    """Cases whose masks stand in the folder now."""
    kept: list[str] = field(default_factory=list)
    """Of these the masks that were there whole, from the same run and the same scan."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    no_prompt: int = 0
    notes: list[str] = field(default_factory=list)
    cleanup: dict[str, Total] = field(default_factory=dict)
    """Per structure what clean-up did; empty where none was asked for, or the run has no rule."""
    put_in: PutIn | None = None
    """What tags and outlines did to masks of scans that the run learned from."""
    empty: list[str] = field(default_factory=list)
    """Sentences about masks that are empty and should not be."""
    prompts: dict[str, list[str]] = field(default_factory=dict)
    """`tags`: cases whose tags a person gave; the others are `automatic`. Empty without tags."""
    quality: list[Judged] = field(default_factory=list)
    """Rows of `quality.csv`: of every mask in the folder, the Dice it probably has."""

    @property
    def doubtful(self) -> list[str]:
        """Cases whose masks look doubtful, the worst first."""
        return doubtful(self.quality)

    def __repr__(self) -> str:
        """Counts; the messages themselves are in `refused` and `notes`."""
        parts = [f"{len(self.written)} written", f"{len(self.refused)} refused"]
        if self.kept:
            parts[0] += f" (of these {len(self.kept)} were there)"
        if self.no_prompt:
            parts.append(f"{count(self.no_prompt, 'slice')} without a prompt")
        if self.empty:
            parts.append("; ".join(self.empty))
        return f"PredictSummary({'; '.join(parts)}; {count(len(self.notes), 'note')})"


@dataclass
class Tally:
    """What is added up over the masks of a folder."""

    summary: PredictSummary
    cleaned: list[Cleaning] = field(default_factory=list)
    heard: dict[str, KnownNote] = field(default_factory=dict)

    def add(self, drawn: Drawn) -> None:
        """What became of one scan more."""
        case, summary = drawn.case, self.summary
        if drawn.refusal is not None:
            summary.refused.append({"case": case, **drawn.refusal})
            return
        if drawn.kept:
            summary.kept.append(case)
        if drawn.cleaned is not None:
            self.cleaned.append(drawn.cleaned)
        self.heard[case] = drawn.note
        summary.written.append(case)
        summary.no_prompt += drawn.no_prompt
        summary.notes += [f"{case}: {text}" for text in drawn.notes]

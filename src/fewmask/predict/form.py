"""In which format masks are written, with the names and colours of their structures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io import bids
from fewmask.io.atomic import make_folder, write_text
from fewmask.io.dicom import slices_of
from fewmask.io.dicomout import write_seg, write_struct
from fewmask.io.extra import need
from fewmask.io.image import write_labels
from fewmask.io.run import RunFolder
from fewmask.io.segments import Segment, coloured
from fewmask.io.snap import slicer_text, snap_text
from fewmask.io.terms import Term, parse_terms, term_of
from fewmask.prepare.options import ScanOptions

Naming = Literal["case", "bids"]
ENDINGS = {
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "seg.nrrd": ".seg.nrrd",
    "mha": ".mha",
    "dicom-seg": ".seg.dcm",
    "rtstruct": ".rtstruct.dcm",
}
"""Format -> what names of masks end in."""
_DICOM = {"dicom-seg": write_seg, "rtstruct": write_struct}
_NAMELESS = ("nifti", "nrrd", "mha")
"""Formats that hold numbers alone: names and colours lie beside the masks."""


@dataclass(frozen=True)
class MaskForm:
    """A format, and what there is to say in it."""

    name: str = "nifti"
    segments: tuple[Segment, ...] = ()
    """Structures with value, name and colour; empty: numbers alone are written."""
    terms: Mapping[str, Term] = field(default_factory=dict)
    """Coded terms by structure, for DICOM."""
    # Not in the text of which a mask's hash is made: masks of earlier versions stay valid.
    naming: Naming = field(default="case", repr=False)
    """Masks are called after their case, or as derivatives of BIDS are."""

    @property
    def is_dicom(self) -> bool:
        """Does it refer to the DICOM scan that a mask was drawn on?"""
        return self.name in _DICOM

    def path(self, out: Path, case: str) -> Path:
        """Where the mask of a case goes."""
        if self.naming == "bids":
            return out / bids.mask_path(case, ENDINGS[self.name])
        return out / f"{case}{ENDINGS[self.name]}"

    def write(
        self,
        out: Path,
        case: str,
        label_map: LabelMap,
        scan: Path | None = None,
        options: ScanOptions | None = None,
        files: Sequence[Path] | None = None,
    ) -> None:
        """Write the mask, atomically, and read it back. DICOM forms need the folder of the scan,
        and where it holds several the `files` of its series.

        Raises `BadConfig` for a scan that is no DICOM (C02), and as `write_labels` or `write_seg`.
        """
        path = self.path(out, case)
        if path.parent != out:
            make_folder(path.parent)
        if not self.is_dicom:
            write_labels(path, label_map, predicted=True, segments=self.segments)
            return
        if scan is None or not scan.is_dir():
            raise _no_dicom(self.name, [case])
        options = options or ScanOptions()
        slices = slices_of(scan, options.series_word, keep_first=options.keep_first, files=files)
        _DICOM[self.name](path, label_map, slices, self.segments, self.terms)

    def check(self, scans: Mapping[str, Path]) -> None:
        """Raise `BadConfig` (C02) before any work where DICOM is asked for and a scan is none, or
        the extra `dicom` is missing.
        """
        if self.name == "dicom-seg":
            need("highdicom", "dicom", "writing DICOM SEG")
        others = [case for case, path in scans.items() if not path.is_dir()]
        if self.is_dicom and (others or not scans):
            raise _no_dicom(self.name, others)

    def write_names(self, out: Path) -> list[str]:
        """Names and colours beside masks that cannot hold them: a label description for ITK-SNAP
        and a colour table for 3D Slicer. Returns notes on files that were left as they are.
        """
        if self.naming == "bids":
            return bids.write_description(out, self.segments)
        if not self.segments or self.name not in _NAMELESS:
            return []
        notes = []
        texts = {"labels.itksnap.txt": snap_text, "labels.ctbl": slicer_text}
        for name, make in texts.items():
            path, text = out / name, make(self.segments)
            if not path.exists():
                write_text(path, text)
            elif path.read_bytes() != text.encode():
                notes.append(f"{name} was there already and is left as it is")
        return notes


NIFTI = MaskForm()
"""Numbers in NIfTI, as other parts of the program read them."""


def open_form(
    run: Path, name: str = "nifti", terms: Iterable[str] = (), naming: str = "case"
) -> MaskForm:
    """The format for masks of a run, with its structures. `terms` are lines as `parse_terms` reads
    them; a structure without one has the term of its name, if the table has it.

    Raises `BadConfig` (C02) for an unknown format or naming, an unreadable term, and for names of
    BIDS in a format that BIDS does not have.
    """
    if naming not in ("case", "bids") or (naming == "bids" and name != "nifti"):
        raise BadConfig(
            f"naming {naming!r} is not known"
            if naming != "bids"
            else f"BIDS has no masks in the format {name}",
            fix="use `naming=case` or `naming=bids`, the latter with `format=nifti`",
            code="C02",
        )
    if name not in ENDINGS:
        raise BadConfig(
            f"format {name!r} is not known", fix=f"one of: {', '.join(ENDINGS)}", code="C02"
        )
    classes = RunFolder.open(run).read_record().task.classes
    own = parse_terms(terms, classes)
    known = {one: term for one in classes if (term := own.get(one) or term_of(one))}
    return MaskForm(name, coloured(classes), known, naming)  # type: ignore[arg-type]


def tell_terms(form: MaskForm) -> list[str]:
    """Notes on structures that no term is known of."""
    without = [one.name for one in form.segments if one.name not in form.terms]
    if not form.is_dicom or not without:
        return []
    names = ", ".join(without)
    return [
        f"no coded term for {names}: written as Tissue; give `terms={without[0]}=SCT:CODE:WORD`"
    ]


def _no_dicom(name: str, cases: Iterable[str]) -> BadConfig:
    return BadConfig(
        f"format {name} refers to the DICOM scan, and there are scans that are none",
        where=list(cases)[:10],
        did="nothing was written",
        fix="give folders of DICOM series, or another format such as `format=seg.nrrd`",
        code="C02",
    )

"""Coded terms of common structures, as DICOM wants them beside a name (SNOMED CT, scheme `SCT`)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fewmask.core.errors import BadConfig


@dataclass(frozen=True)
class Term:
    """What a structure is, in a coding scheme."""

    value: str
    scheme: str
    meaning: str
    category: str = "anatomy"
    """`anatomy`, `lesion` or `tissue`."""


CATEGORIES = {
    "anatomy": ("91723000", "SCT", "Anatomical Structure"),
    "lesion": ("49755003", "SCT", "Morphologically Abnormal Structure"),
    "tissue": ("85756007", "SCT", "Tissue"),
}
"""Code, scheme and meaning of each category."""
TISSUE = Term("85756007", "SCT", "Tissue", "tissue")
"""For a structure that no term is known of: certainly right, and says little."""
_ANATOMY = {
    "adrenal gland": "23451007", "aorta": "15825003", "bladder": "89837001", "bone": "272673000",
    "brain": "12738006", "breast": "76752008", "cartilage": "309312004", "cerebellum": "113305005",
    "colon": "71854001", "duodenum": "38848004", "esophagus": "32849002", "eye": "81745001",
    "femur": "71341001", "gallbladder": "28231008", "heart": "80891009",
    "hippocampus": "5366008", "inferior vena cava": "64131007", "kidney": "64033007",
    "left atrium": "82471001", "left ventricle": "87878005", "liver": "10200004",
    "lung": "39607008", "lymph node": "59441001", "mandible": "91609006", "muscle": "71616004",
    "pancreas": "15776009", "parotid gland": "45289007", "portal vein": "32764006",
    "prostate": "41216001", "rectum": "34402009", "rib": "113197003", "right atrium": "73829009",
    "right ventricle": "53085002", "skin": "39937001", "small intestine": "30315005",
    "spinal cord": "2748008", "spleen": "78961009", "sternum": "56873002",
    "stomach": "69695003", "thyroid": "69748006", "trachea": "44567001", "uterus": "35039007",
    "vertebra": "51282000",
}  # fmt: skip
_LESIONS = {"neoplasm": "108369006", "lesion": "52988006", "mass": "4147007", "cyst": "367643001",
            "hemorrhage": "50960005", "edema": "79654002"}  # fmt: skip
_SAME = {
    "urinary bladder": "bladder", "oesophagus": "esophagus", "ivc": "inferior vena cava",
    "postcava": "inferior vena cava", "gall bladder": "gallbladder", "tumor": "neoplasm",
    "tumour": "neoplasm", "cancer": "neoplasm", "small bowel": "small intestine",
    "thyroid gland": "thyroid", "haemorrhage": "hemorrhage", "oedema": "edema",
    "adrenal": "adrenal gland", "la": "left atrium",
}  # fmt: skip


def term_of(name: str) -> Term | None:
    """The term of a structure's name, in whatever letters, plural or with a side; None if the
    table has none.
    """
    words = re.sub(r"[-_. ]+", " ", name.casefold()).strip()
    sided = re.sub(r"^(left|right|l|r) | (left|right|l|r)$", "", words)
    for known in (words, sided, words.removesuffix("s"), sided.removesuffix("s")):
        known = _SAME.get(known, known)
        if known in _ANATOMY:
            return Term(_ANATOMY[known], "SCT", known.capitalize())
        if known in _LESIONS:
            return Term(_LESIONS[known], "SCT", known.capitalize(), "lesion")
    return None


def parse_terms(lines: Iterable[str], classes: Iterable[str]) -> dict[str, Term]:
    """Read `--term` lines: `liver=SCT:10200004:Liver`, with `:lesion` or `:tissue` at the end where
    it is none of anatomy. Raises `BadConfig` (C02) for what cannot be meant.
    """
    known, found = set(classes), dict[str, Term]()
    for line in lines:
        name, _, text = (part.strip() for part in line.partition("="))
        parts = [part.strip() for part in text.split(":")]
        kind = parts[3] if len(parts) == 4 else "anatomy"
        whole = len(parts) in (3, 4) and all(parts) and kind in CATEGORIES
        fits = whole and len(parts[0]) <= 16 and len(parts[1]) <= 16 and len(parts[2]) <= 64
        if not fits or name not in known or name in found or not line.isprintable():
            raise BadConfig(
                f"the term {line!r} cannot be read",
                where=f"structures: {', '.join(sorted(known))}",
                fix="write such as `terms=liver=SCT:10200004:Liver`",
                code="C02",
            )
        found[name] = Term(parts[1], parts[0], parts[2], kind)
    return found

"""Words that say who somebody is: known by fingerprints of the name in a DICOM header, and told
from the words of imaging protocols. Nothing that is left of them can be read.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise, permutations

_LETTERS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LEAST, _MOST = 3, 4
_NOBODY = re.compile(
    "anon|anonym|anonymous|anonymi[sz]ed|de|id|identified|deidentified|removed|patient|subject|case"
    "|phantom|test|unknown|none|name|no|person|study|volunteer|control|research"
)
"""Words that de-identified headers have in place of a name."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "ß": "ss"})

_SAID = """
    abdomen abdominal abdo thorax thoracic chest lung lungs liver leber foie hepatic kidney kidneys
    renal spleen pancreas pelvis becken prostate bladder uterus heart cardiac coronary aorta head
    kopf neck hals brain skull spine lumbar cervical knee hip shoulder wrist ankle foot hand breast
    neuro body whole trunk upper lower left right both and with without of the
    ct mr mri pet spect cta ctpa mra mrcp angio angiography perfusion spectral dual energy
    portal venous vein arterial artery late delayed early phase equilibrium native nativ plain pre
    post contrast enhanced nonenhanced unenhanced km iv oral gd dynamic dyn
    axial ax tra transversal transverse sagittal sag coronal cor oblique mpr mip minip reformat
    reformatted recon reconstruction vrt thin thick slice slices soft tissue bone standard std
    medium smooth sharp kernel window
    scout localizer localiser topogram surview pilot survey scanogram scano dose report protocol
    exam secondary capture screen save smartprep bolus tracking monitoring premonitoring
    t1 t2 t1w t2w pd pdw flair stir dwi adc swi tof tse fse hase haste trufi fiesta ssfp bssfp vibe
    dixon mprage flash space spgr lava thrive gre se ir fs fatsat sat water fat in out opp phase
    opposed map breath hold bh rt trigger resp nav navi ecg gated gating diastole systole cine
    derived primary original average avg mean sum subtraction sub diff b w mm cm ml ms kv kvp ma s
    x y z hu wb ac nac corrected test series image images volume vol stack head first feet supine
    prone inspiration expiration insp exp baseline follow up followup visit
"""
_WORDS = frozenset(_SAID.split())
_PROTOCOL = re.compile(
    r"[a-z]{1,2}\d{1,2}[a-z]?|b\d{1,4}|\d{1,3}([.,]\d{1,3})?(mm|cm|ml|s|ms|kv|ma|x|d)?|[xyz]"
)
"""Kernels (`b30f`), b-values, short numbers with units."""
_TOKEN = re.compile(r"\d+[.,]\d+[a-z]*|[^\W_]+", re.IGNORECASE)
_HIDDEN = "..."


def name_marks(name: str) -> frozenset[str]:
    """Fingerprints of the words of a patient's name, alone and written together; none of a
    pseudonym (it has digits) or of what stands for no name.
    """
    if any(letter.isdigit() for letter in name):
        return frozenset()
    found = set()
    for group in name.split("="):  # alphabetic, ideographic, phonetic
        words = [word for word in _LETTERS.findall(group) if not _NOBODY.fullmatch(word.casefold())]
        joined = ["".join(two) for two in permutations(words[:_MOST], 2)]
        found |= {mark for word in (*words, *joined) if _tells(word) for mark in _marks(word)}
    return frozenset(found)


def names_person(text: str, marks: frozenset[str]) -> bool:
    """Is one of the words of the text part of a name with these fingerprints?"""
    if not marks:
        return False
    parts = _LETTERS.findall(text)
    pieces = [piece for part in parts for piece in _CAMEL.split(part)]
    # Short names tell only together.
    words = {*parts, *pieces, *(a + b for a, b in pairwise(pieces))}
    return any(mark in marks for word in words if _tells(word) for mark in _marks(word))


def protocol_words(text: str, persons: frozenset[str] = frozenset()) -> str:
    """A description without words that no imaging protocol uses, which may name a person, and
    without those of `persons`: `...` stands for them. Empty where nothing is left.
    """

    def kept(found: re.Match[str]) -> str:
        safe = _is_protocol(found[0]) and not names_person(found[0], persons)
        return found[0] if safe else _HIDDEN

    shown = _TOKEN.sub(kept, text)
    shown = re.sub(r"\.{3}(\W*\.{3})+", _HIDDEN, shown.strip())
    return shown if re.search(r"[^\W_]", shown) else ""


def _is_protocol(word: str) -> bool:
    folded = word.casefold()
    return folded in _WORDS or _PROTOCOL.fullmatch(folded) is not None


def _tells(word: str) -> bool:
    """Is the word long enough to be somebody's? Two signs are a name in Chinese."""
    return len(word) >= (_LEAST if word.isascii() else 2)


def _marks(word: str) -> Iterator[str]:
    """Fingerprints of a word as it may be written: `Müller`, `Muller`, `Mueller`."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    bare = "".join(
        letter
        for letter in unicodedata.normalize("NFD", folded)
        if not unicodedata.combining(letter)
    )
    for written in {folded, bare, folded.translate(_UMLAUTS)}:
        yield hashlib.sha256(written.encode()).hexdigest()

"""The page: one HTML file that needs nothing beside it and reads without scripts."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fewmask.core.colours import colour_of
from fewmask.evaluate.agreement import QUESTIONS
from fewmask.io.atomic import make_folder, write_text
from fewmask.report.charts import Chart, volume_chart
from fewmask.report.doubt import RULE
from fewmask.report.scans import Scan, Wall
from fewmask.report.sentence import number, show

MOST_REASONS = 4
"""On a card; the rest is counted."""
_BLANK: dict[str, Any] = {
    "summaries": [],
    "rows": [],
    "cleanup": None,
    "trust": [],
    "command": "",
    "warnings": [],
    "prompts_words": {},
    "caution": "",
    "notes": [],
    "overview": [],
    "bland_altman": [],
    "failures": [],
    "groups": [],
    "sources": False,
    "losses": [],
}
"""A page without a run has none of these."""


def write_page(out: Path, wall: Wall, classes: Sequence[str], **more: Any) -> Path:
    """Write `out` and return it. `more` fills the template: `title`, `sentence`, `hint`, and what
    else is there.
    """
    script = _part("page.js")
    charts: list[Chart | None] = [*more.pop("overview", []), volume_chart(wall.scans)]
    page = _template().render(
        **{
            **_BLANK,
            **more,
            "overview": [chart for chart in charts if chart is not None],
            "wall": wall,
            "scans": wall.scans,
            "groups_of_scans": sorted({scan.group for scan in wall.scans if scan.group}),
            "person": any(scan.person for scan in wall.scans),
            "drawn": sorted({n for scan in wall.scans for n in _drawn(scan)}),
            "any_pictures": any(scan.pictures for scan in wall.scans),
            "any_strips": any(scan.strip for scan in wall.scans),
            "colours": [(n, name, colour_of(n)) for n, name in enumerate(classes, 1)],
            "questions": QUESTIONS,
            "tagged": any(line.tag for scan in wall.scans for line in scan.lines),
            "predicted": any(line.quality for scan in wall.scans for line in scan.lines),
            "windows": _windows(wall),
            "rule": RULE,
            "most_reasons": MOST_REASONS,
            "style": _part("page.css"),
            "script": script,
            "digest": digest_of(script),
            "show": show,
            "number": number,
        }
    )
    make_folder(out.parent)
    write_text(out, page)
    return out


def digest_of(script: str) -> str:
    """What the page's policy must name for a browser to run this script, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _drawn(scan: Scan) -> set[int]:
    """Structures in the pictures of a scan."""
    pictures = [*scan.pictures, *(scan.strip.pictures if scan.strip else ())]
    return {layer.structure for picture in pictures for layer in picture.layers}


def _windows(wall: Wall) -> str:
    """The window of all pictures; empty where every scan has its own."""
    found = {scan.frame.window for scan in wall.scans if scan.frame is not None}
    return found.pop() if len(found) == 1 else ""


def _part(name: str) -> str:
    return (files("fewmask.report") / "templates" / name).read_text(encoding="utf-8")


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("fewmask.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")

"""Every command of the guide works as it stands, on small made-up scans and with two steps instead
of minutes; its Python too. The site that is made of the pages has no broken link.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fewmask.methods as registry
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import read_labels, write_labels, write_volume
from tests.program import run_program
from tests.scans import AFFINE, SHAPE

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
ORDER = ["own-scans", "outlining", "report", "structures"]
"""A page may use what an earlier one made."""
QUICK = {
    r"--minutes \d+": "--steps 2 --amp off",
    "fewmask prepare": "fewmask prepare --jobs 1",
    "--method vnet": "--method vnet --set patch=(16,16,16) --set filters=2 --set norm=batch",
}
OUTLINED = {"case_00": (2, 3), "case_01": (4,), "case_02": (3,)}
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide's reader has: six scans with liver (6) and spleen (1) in slices 2 to 5, three
    outlined in a slice or two, tags, and two scans that come later, whose truth is known.
    """
    folder = tmp_path_factory.mktemp("guide")
    for index in range(8):
        case = f"case_{index:02d}"
        image = np.random.default_rng(index).normal(0, 15, SHAPE)
        whole = np.zeros(SHAPE, np.uint8)
        whole[6 + index : 16 + index, 8:20, 2:6] = 6
        whole[8:14, 24:30, 2:6] = 1
        image[whole == 6] += 120
        image[whole == 1] += 60
        image[:2] = -1000
        part = np.zeros(SHAPE, np.uint8)
        for d in OUTLINED.get(case, ()):
            part[..., d] = whole[..., d]
        new = index >= 6
        scan = Volume.from_file_order(np.round(image).astype(np.int16), AFFINE)
        write(folder / ("new_scans" if new else "scans/images") / f"{case}.nii.gz", scan)
        if new:
            write(folder / "truth" / f"{case}.nii.gz", LabelMap.from_file_order(whole, AFFINE))
        elif part.any():
            labels = LabelMap.from_file_order(part, AFFINE)
            write(folder / "scans/labels" / f"{case}.nii.gz", labels)
    known = [f"case_{index:02d}" for index in range(6)]
    tags = [f"{case},2,5" for case in known]
    both = [f"{case},{name},2,5" for case in known for name in ("liver", "spleen")]
    later = ["case_06,2,5", "case_07,2,5"]
    head = "case,first_slice,last_slice"
    write_lines(folder / "tags.csv", head, tags)
    write_lines(folder / "new.csv", head, later)
    write_lines(folder / "organs.csv", "case,class,first_slice,last_slice", both)
    return folder


def write(path: Path, what: Volume | LabelMap) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, Volume):
        write_volume(path, what)
    else:
        write_labels(path, what)


def write_lines(path: Path, head: str, lines: list[str]) -> None:
    path.write_text("\n".join([head, *lines]) + "\n")


def commands(page: str) -> list[str]:
    found = "".join(SHELL.findall((GUIDE / f"{page}.md").read_text())).splitlines()
    return [line for line in found if line and not line.startswith("#")]


def test_there_are_commands_on_every_page_and_no_page_is_left_out() -> None:
    pages = {path.stem for path in GUIDE.glob("*.md")}
    assert pages == {*ORDER, "extending", "trouble"}
    assert all(commands(page) for page in ORDER)


def test_its_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for page in ORDER:
        for command in commands(page):
            for slow, quick in QUICK.items():
                command = re.sub(slow, quick, command)
            name, *words = shlex.split(command, comments=True)
            assert name == "fewmask"
            done = run_program(*words)
            # After two steps masks may be empty: 5 is the right answer then.
            assert done.code in (0, 5), (page, command, done)
    for case in ("case_06", "case_07"):
        mask = read_labels(folder / "masks" / f"{case}.nii.gz").voxels
        assert mask.shape == read_labels(folder / "truth" / f"{case}.nii.gz").voxels.shape
    assert (folder / "masks/report/index.html").exists()
    assert (folder / "run3d/weights.safetensors").exists()


def test_its_method_of_ones_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "".join(PYTHON.findall((GUIDE / "extending.md").read_text()))
    monkeypatch.chdir(folder)
    if not (folder / "prepared").exists():  # this test alone
        test_its_commands(folder, monkeypatch)
    shutil.rmtree("run_dilated", ignore_errors=True)
    monkeypatch.setattr(registry, "_registered", {})
    names: dict[str, object] = {"__name__": "dilated"}
    exec(compile(code, "extending.md", "exec"), names)  # noqa: S102
    assert set(names["mask"].volumes_ml) == {"liver"}  # type: ignore[attr-defined]


def test_codes_of_the_page_of_trouble_exist() -> None:
    named = set(re.findall(r"\b[A-Z]\d\d\b", (GUIDE / "trouble.md").read_text()))
    known = set(re.findall(r"^\| ([A-Z]\d\d) \|", (GUIDE.parent / "errors.md").read_text(), re.M))
    assert len(named) > 20 and not named - known


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Broken links are warnings, too."""
    pytest.importorskip("furo")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*words, str(GUIDE.parent), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "guide/own-scans.html", "reference.html", "results/index.html"):
        html = (tmp_path / page).read_text()
        assert "https://" not in re.sub(r'<a [^>]*href="[^"]*"|xmlns="[^"]*"', "", html), page
    assert "fewmask.train" in (tmp_path / "reference.html").read_text()
    assert (tmp_path / "searchindex.js").exists()

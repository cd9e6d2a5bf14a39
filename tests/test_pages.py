"""The measured parts of the methods' pages are what the committed rows say."""

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "pages.py"))


def row(**changed: str) -> dict[str, str]:
    base = {
        "method": "unet", "settings": "", "slices": "5", "volumes": "", "draw": "0", "seed": "0", "minutes": "", "steps": "7",
        "domain": "test", "prompts": "automatic", "dice": "0.5", "hd95_mm": "4",
    }  # fmt: skip
    return {**base, **changed}


def test_no_page_is_behind_its_rows() -> None:
    for path, text in SCRIPT["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, "run: python experiments/pages.py"


def test_runs_are_averaged_and_bounds_left_out() -> None:
    rows = [row(), row(draw="1", dice="0.7", hd95_mm="6"), row(prompts="oracle-box", dice="0.9"), row(method="vnet")]
    (line,) = SCRIPT["measured"]({"ct-liver": rows}, "unet")
    link = "[ct-liver](../../experiments/ct-liver.toml)"
    assert line == [link, "", "5 slices", "7 steps", "2", "test", "0.600 ± 0.141", "5.0 ± 1.4"]


def test_a_measured_part_is_exchanged_not_added() -> None:
    once = SCRIPT["page"]("# unet\n", [["a"] * 8])
    assert SCRIPT["page"](once, [["a"] * 8]) == once and SCRIPT["page"](once, []) == "# unet\n"

"""Tables from rows that can be worked out by hand."""

from dataclasses import replace

import pytest

from fewmask.benchmark.compare import (
    Setting,
    differences,
    group,
    per_run,
    spread,
    structures,
    table,
    values,
)
from fewmask.benchmark.published import SOURCES, published
from fewmask.benchmark.rows import COLUMNS, RunRow, from_texts
from fewmask.core.errors import BadConfig
from fewmask.evaluate.protocols import NOTES
from tests.narrow import Settings


def row(method: str, case: str, dice: float | str, draw: int = 0, **changes: object) -> RunRow:
    """A row; patients are called like their case."""
    base = {
        "method": method, "slices": 5, "draw": draw, "seed": 0, "steps": 10, "domain": "test",
        "patient": case, "case": case,
        "class": "liver", "prompts": "automatic", "status": "ok", "dice": dice, "hd95_mm": 4.0,
        "nsd": 1.0, "hd_mm": 5.0, "assd_mm": 1.0, "volume_error_ml": 0.0,
        "sam_mix_dice": dice,
        "sam_mix_hd_px": 2.0, "sam_mix_slices": 1,
    }  # fmt: skip
    return from_texts({name: str((base | changes).get(name, "")) for name in COLUMNS})


ROWS = [
    row("a", "p", 0.9), row("a", "q", 0.7), row("a", "p", 0.7, 1), row("a", "q", 0.5, 1),
    row("b", "p", 0.5), row("b", "q", 0.6), row("b", "p", 0.5, 1), row("b", "q", 0.6, 1),
    row("a", "p", 0.95, prompts="oracle-box"),
]  # fmt: skip


def test_spread_is_over_runs_not_over_volumes() -> None:
    """Draw 0: mean 0.8; draw 1: 0.6. Mean 0.7, standard deviation sqrt(2 * 0.1^2) = 0.141."""
    s = spread(ROWS[:4], "dice")
    assert (s.mean, s.sd) == pytest.approx((0.7, 0.1414), abs=1e-4) and s.runs == 2


def test_paper_counts_slices_and_skips_what_has_no_meaning() -> None:
    rows = [
        row("a", "p", 0.9, sam_mix_slices=3),
        row("a", "q", 0.5, sam_mix_slices=1),
        row("a", "r", "nan", sam_mix_slices=0),
    ]
    assert spread(rows, "sam_mix_dice").mean == pytest.approx(0.8)
    assert spread(rows, "dice").mean == pytest.approx(0.7)
    assert spread([row("a", "p", "nan")], "dice").runs == 0


def test_differences_are_per_patient_over_draws() -> None:
    """p: (0.4 + 0.2) / 2 = 0.3; q: (0.1 - 0.1) / 2 = 0. The bound never enters."""
    (pair,) = differences(ROWS, "b")
    assert (pair.a, pair.b) == (
        Setting("a", "", "5 slices", "10 steps"),
        Setting("b", "", "5 slices", "10 steps"),
    )
    assert pair.difference.interval.mean == pytest.approx(0.15) and (
        pair.difference.n,
        pair.difference.n_higher,
    ) == (2, 1)
    assert pair.difference.draws == 2 and str(pair).endswith("not decided (2 patients)")


def test_a_winner_needs_two_draws_and_pays_for_every_line_of_its_table() -> None:
    """b is behind by 0.10 to 0.15 in six patients in both draws (p 0.00001), the seven others by
    what averages out: p is counted eight times among eight lines.
    """
    patients = [(f"p{i}", 0.01 * i) for i in range(6)]
    ahead = [row("a", p, 0.7, draw) for p, _ in patients for draw in (0, 1)]
    behind = [row("b", p, 0.6 - more, draw) for p, more in patients for draw in (0, 1)]
    (alone,) = differences([*ahead, *behind], "a")
    assert alone.difference.decided and str(alone).endswith("decided (2 draws)")
    equal = [
        row("b", p, 0.7 + (0.01 if more > 0.02 else -0.01), draw, settings=f"x={n}")
        for p, more in patients
        for n in range(7)
        for draw in (0, 1)
    ]
    (among,) = (pair for pair in differences([*ahead, *behind, *equal], "a") if not pair.a.settings)
    assert among.difference.p_in_table == pytest.approx(8 * among.difference.p)
    undecidable = [row("b", p, 0.7, settings="y=0") for p, _ in patients]
    lines = differences([*ahead, *behind, *equal, *undecidable], "a")
    assert next(pair for pair in lines if not pair.a.settings).difference == among.difference
    (once,) = differences([*ahead[::2], *behind[::2]], "a")
    assert not once.difference.decided and str(once).endswith("not decided (1 draw)")


def test_a_time_can_be_named_where_a_setting_has_several() -> None:
    """a: 0.9 after 10 steps, 0.95 after 30; b: 0.5 after 10 steps."""
    rows = [row("a", "p", 0.9), row("a", "p", 0.95, steps=30), row("b", "p", 0.5)]
    (plain,) = differences(rows, "a")
    assert plain.b.time == "10 steps" and plain.difference.interval.mean == pytest.approx(-0.4)
    pairs = differences(rows, "a, 30 steps")
    assert [
        (pair.a.name, pair.a.time, round(pair.difference.interval.mean, 3)) for pair in pairs
    ] == [
        ("a", "10 steps", -0.05),
        ("b", "10 steps", -0.45),
    ]
    with pytest.raises(BadConfig):
        differences(rows, "a, 20 steps")


def test_differences_are_in_the_dice_of_the_protocol() -> None:
    rows = [
        row("a", "p", 0.9, sam_mix_dice=0.4),
        row("b", "p", 0.5, sam_mix_dice=0.7),
        row("a", "q", 0.9),
        row("b", "q", 0.5, sam_mix_dice=""),
    ]
    (pair,) = differences(rows, "b", "sam-mix")
    assert pair.difference.interval.mean == pytest.approx(-0.3) and pair.difference.n == 1


def test_only_the_same_budget_is_compared() -> None:
    assert differences([row("a", "p", 0.9), row("b", "p", 0.5, slices=50)], "b") == []


def test_other_steps_are_compared_and_said_unless_the_same_are_there() -> None:
    (pair,) = differences([row("a", "p", 0.9), row("b", "p", 0.5, steps=40)], "b")
    assert "a (10 steps) minus b (40 steps) +0.400" in str(pair)
    (pair,) = differences(
        [row("a", "p", 0.9), row("b", "p", 0.5, steps=40), row("b", "p", 0.6)], "b"
    )
    assert "a minus b +0.300" in str(pair)


def test_pairs_of_two_precisions_say_so() -> None:
    """Draw 0 is of one precision; draw 1 is not. What a table does not say is not taken for the
    same.
    """
    ours = [row("a", "p", 0.9, precision="float32"), row("a", "p", 0.9, 1, precision="float32")]
    theirs = [row("b", "p", 0.5, precision="float32"), row("b", "p", 0.5, 1, precision="bfloat16")]
    (pair,) = differences([*ours, *theirs], "b")
    assert pair.unlike == "float32 against bfloat16, float32"
    assert str(pair).endswith(
        "higher in 1 of 1, not decided (1 patient) (float32 against bfloat16, float32)"
    )
    (pair,) = differences([*ours, theirs[0]], "b")
    assert not pair.unlike and str(pair).endswith("not decided (1 patient)")
    (pair,) = differences([ours[0], row("b", "p", 0.5)], "b")
    assert pair.unlike == "float32 against not said"


def test_windows_that_lie_elsewhere_are_said() -> None:
    """Nothing said is half a window."""
    ours, theirs = row("a", "p", 0.9, stride="2,9,9"), row("b", "p", 0.5)
    (pair,) = differences([ours, theirs], "b")
    assert pair.unlike == "2,9,9 against half a window"
    assert [line.split(" | ")[3] for line in table([ours, theirs]).splitlines()[2:]] == [
        "2,9,9",
        "",
    ]
    assert "stride" not in table([ours])
    (pair,) = differences(
        [replace(ours, precision="float32"), replace(theirs, precision="bfloat16")], "b"
    )
    assert pair.unlike == "float32 against bfloat16; 2,9,9 against half a window"


def test_settings_make_another_method() -> None:
    names = [
        setting.name for setting in group([row("a", "p", 0.9), row("a", "p", 0.9, settings="x=1")])
    ]
    assert names == ["a", "a x=1"]


def test_masks_after_clean_up_are_another_row() -> None:
    """0.9 drawn, 0.95 cleaned: never a mean of both, and no published number beside the second."""
    rows = [row("a", "p", 0.9), row("a", "p", 0.95, cleanup="learned")]
    assert [one.name for one in group(rows)] == ["a", "a + clean-up"]
    assert "| a + clean-up | 5 slices | 10 | 1 | 0.950 |" in table(rows)
    assert [
        (pair.a.name, round(pair.difference.interval.mean, 3)) for pair in differences(rows, "a")
    ] == [("a + clean-up", 0.05)]
    alone = [row("b", "p", 0.5, cleanup="learned"), rows[1]]
    assert [str(pair).split(" minus ")[0] for pair in differences(alone, "b")] == [
        "test, 5 slices: a + clean-up"
    ]
    _, lines = per_run(rows)
    assert [(line["cleanup"], line["test automatic dice"]) for line in lines] == [
        ("none", "0.9000"),
        ("learned", "0.9500"),
    ]
    known = [row("unet", "p", 0.9), row("sam_mix", "p", 0.9)]
    cleaned = [replace(one, cleanup="learned") for one in known]
    source = SOURCES["sam-mix"]
    assert source in table(known, "sam-mix") and source not in table(cleaned, "sam-mix")


def test_what_all_runs_of_a_method_share_is_said_once() -> None:
    """Methods share for themselves: b has no x."""
    rows = [
        row("a", "p", 0.9, settings="x=1 y=2"),
        row("a", "p", 0.8, settings="x=1"),
        row("b", "p", 0.5),
    ]
    assert [one.name for one in group(rows)] == ["a", "a y=2", "b"]
    assert [one.written for one in group(rows)] == ["x=1", "x=1 y=2", ""]
    assert [str(pair).split(" minus")[0] for pair in differences(rows, "a")] == [
        "test, 5 slices: a y=2",
        "test, 5 slices: b",
    ]
    assert table(rows).splitlines()[-2:] == ["", "All runs of `a`: `x=1`."]
    assert "| a y=2 | 5 slices | 0 | 0 | automatic | 0.900 |" in values(rows)


def test_table_marks_the_bound_and_the_published() -> None:
    line = table(ROWS).splitlines()[2]
    assert line == "| a | 5 slices | 10 | 2 | 0.700 ± 0.141 | 4.0 ± 0.0 | 0.950 |"
    papers = table([row("sam_mix", "p", 0.9)], "sam-mix").splitlines()
    assert (
        papers[0].endswith("| published (other data, other network): LiTS / TotalSegmentator |")
        and "0.919 ± 0.002" in papers[2]
    )


def test_a_column_that_says_nothing_is_left_out() -> None:
    """No bound without a prompt; minutes and their steps are two things."""
    assert (
        table([row("b", "p", 0.5)]).splitlines()[0]
        == "| method | budget | steps | runs | test: Dice | HD95 mm |"
    )
    assert (
        table([row("b", "p", 0.5, minutes=5)])
        .splitlines()[2]
        .startswith("| b | 5 slices | 5 min | 10 | 1 |")
    )
    assert table([]).startswith("| method |")


def test_precisions_are_shown_where_they_differ() -> None:
    """A row of an older table says nothing of its own; runs of one setting may be of both."""
    rows = [row("a", "p", 0.9, precision="bfloat16"), row("a", "p", 0.8, 1, precision="float32")]
    assert "precision" not in table(rows)
    lines = table([*rows, row("b", "p", 0.5, precision="float32"), row("c", "p", 0.5)]).splitlines()
    assert lines[0].startswith("| method | budget | steps | precision | runs |")
    assert [line.split(" | ")[3] for line in lines[2:]] == ["bfloat16, float32", "float32", ""]


def test_a_method_as_it_is_comes_before_its_changes_and_five_slices_before_fifty() -> None:
    wanted = [("a", "", 5), ("a", "", 50), ("a", "x=1", 100), ("b", "", 5)]
    mixed = [
        row(method, "p", 0.9, settings=settings, slices=n)
        for method, settings, n in (wanted[i] for i in (2, 1, 3, 0))
    ]
    assert [
        (one.method, one.settings, int(one.budget.split()[0])) for one in group(mixed)
    ] == wanted
    assert group([]) == {}
    whole = [row("a", "p", 0.9, slices="", volumes=12), row("a", "p", 0.9, slices=50)]
    assert [one.budget for one in group(whole)] == ["50 slices", "12 volumes"]
    assert [one.time for one in group([row("a", "p", 0.9, steps=n) for n in (1200, 400)])] == [
        "400 steps",
        "1200 steps",
    ]


def test_voxel_protocol_has_four_numbers_and_each_published_cell_once() -> None:
    """An ablation has no published number; a re-training term has its own."""
    paper: Settings = {
        "slices": "",
        "volumes": 1,
        "la_2018_dice": 0.5,
        "la_2018_jaccard": 0.333,
        "la_2018_hd95_voxel": 7,
        "la_2018_asd_voxel": 2,
    }
    settings = ["turns=false", "turns=false pseudo=online", "turns=false term=ac_mt"]
    heads, _, *lines = table(
        [row("cfr", "p", 0.9, settings=s, **paper) for s in settings], "la-2018"
    ).splitlines()
    assert lines[-4:] == ["", "All runs of `cfr`: `turns=false`.", "", NOTES["la-2018"]]
    assert (
        heads.endswith("| published (other data, other network): LA, 80 scans at full resolution |")
        and "Jaccard | 95HD voxels | ASD voxels" in heads
    )
    assert lines[0].endswith("| 0.500 | 0.333 | 7.0 | 2.0 | 0.744, 0.615, 25.9, 6.3 |")
    assert lines[1].endswith("| 2.0 |  |") and lines[2].endswith("| 0.768, 0.647, 28.1, 8.5 |")


def left_atrium(case: str, dice: float, hd95: float, method: str = "vnet") -> RunRow:
    numbers: Settings = {
        "la_2018_dice": dice,
        "la_2018_jaccard": dice,
        "la_2018_hd95_voxel": hd95,
        "la_2018_asd_voxel": hd95,
    }
    return row(method, case, dice, slices="", volumes=4, **numbers)


def test_empty_predictions_are_counted_where_they_score_nothing() -> None:
    """p and q found nothing; r is beside the truth, s is perfect: neither is empty. A method
    without any shows none of them.
    """
    rows = [
        left_atrium("p", 0, 0),
        left_atrium("q", 0, 0),
        left_atrium("r", 0, 30),
        left_atrium("s", 1, 0),
    ]
    fine = [left_atrium("p", 0.5, 3, "unet"), row("unet", "q", 0.5, slices="", volumes=4)]
    heads, _, *lines = table([*rows, *fine], "la-2018").splitlines()
    assert heads.endswith("| 95HD voxels | ASD voxels | empty |")
    assert lines[0].endswith("| 0.250 | 0.250 | 7.5 | 7.5 | 2 of 4 |") and lines[1].endswith(
        "| 3.0 | 0 of 1 |"
    )
    assert "empty" not in table([*rows[2:], *fine], "la-2018")


def test_slices_without_a_prediction_are_counted_in_the_papers_protocol() -> None:
    """3 and 1 of 10 and 5 slices of one method, none of 15 of the other; bounds do not count, older
    rows do not say it.
    """
    few = [
        row("a", "p", 0.5, sam_mix_slices=10, sam_mix_missed=3),
        row("a", "q", 0.5, sam_mix_slices=5, sam_mix_missed=1),
    ]
    none = [row("b", "p", 0.5, sam_mix_slices=15, sam_mix_missed=0)]
    bound = row("a", "p", 0.9, prompts="oracle-box", sam_mix_slices=10, sam_mix_missed=9)
    heads, _, a, b = table([*few, *none, bound], "sam-mix").splitlines()
    cells = [dict(zip(heads.split(" | "), line.split(" | "), strict=True)) for line in (a, b)]
    assert [cell["empty"] for cell in cells] == ["4 of 15", "0 of 15"]
    assert "empty" not in table(none, "sam-mix") and "empty" not in table([*few, bound], "default")
    assert "empty" not in table([few[0], row("a", "q", 0.5)], "sam-mix")


def test_an_ablation_alone_has_no_published_cell() -> None:
    """Settings that all rows share are said below the table, and still make another method. Sizes
    do not.
    """
    assert "published" not in table([row("sam_mix", "p", 0.9, settings="tune=decoder")], "sam-mix")
    assert "0.919" in table(
        [row("sam_mix", "p", 0.9, settings="encoder=vit-b tune=lora")], "sam-mix"
    )
    assert "0.863" in table(
        [row("nnunet", "p", 0.9, settings="memory_gb=1.0 mirror=false", slices="", volumes=12)],
        "sam-mix",
    )
    assert "0.441" in table([row("sam_pp", "p", 0.9, settings="coarse=cam", slices=0)], "sam-mix")
    assert published("la-2018", "canvas_sam", "patch=[48,64,64] canvas=256", "1 volume") == "0.748"
    assert (
        published("la-2018", "canvas_sam", "patch=[48,64,64] levels=recipe", "1 volume") == "0.748"
    )
    assert published("la-2018", "canvas_sam", "patch=[48,64,64] montage=false", "1 volume") == ""
    paper = "tag_loss=focal guide_weight=0.0 dense_prompt=true presence=slice"
    assert (
        published("sam-mix", "sam_mix", paper, "50 slices")
        == published("sam-mix", "sam_mix", "", "50 slices")
        != ""
    )
    assert published("sam-mix", "sam_mix", "pool=attention", "50 slices") == ""
    assert published("sam-mix", "unet", "presence=slice", "12 volumes") == ""


def test_a_protocol_that_was_not_scored_is_refused() -> None:
    with pytest.raises(BadConfig, match="no numbers of la-2018"):
        table(ROWS, "la-2018")


def test_every_structure_has_a_line_and_every_setting_a_column() -> None:
    """Liver of a: the mean of (0.9 + 0.7) / 2 and (0.7 + 0.5) / 2, without the bound. b was never
    asked about the spleen.
    """
    spleen = row("a", "p", 0.2, 0, **{"class": "spleen"})
    assert structures([*ROWS, spleen]).splitlines() == [
        "test: Dice",
        "",
        "| structure | a | b |",
        "| --- | --- | --- |",
        "| liver | 0.700 ± 0.141 | 0.550 ± 0.000 |",
        "| spleen | 0.200 |  |",
    ]
    other = row("b", "r", 0.8, domain="elsewhere", slices=50)
    first, second = structures([*ROWS, row("a", "p", 1, slices=50), other]).split(
        "\n\nelsewhere: Dice"
    )
    assert (
        "| structure | a, 5 slices | a, 50 slices | b, 5 slices |" in first
        and "| liver | 0.800 |" in second
    )


def test_one_line_per_run() -> None:
    columns, lines = per_run(ROWS)
    assert len(lines) == 4 and "test oracle-box dice" in columns
    assert (
        lines[0]["test automatic dice"] == "0.8000" and lines[1]["test automatic dice"] == "0.6000"
    )

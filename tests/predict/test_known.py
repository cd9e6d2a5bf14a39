"""Tags and outlines have the last word over a mask."""

import json
import shutil

import numpy as np
import pytest

from fewmask.benchmark.score import score_folders
from fewmask.cleanup.rule import CleanupRule, StructureRule
from fewmask.core.budget import Budget, Split
from fewmask.core.errors import BadConfig, BadDataset, BadScan, LabelWithheld
from fewmask.core.volume import LabelMap, Volume
from fewmask.data.label_guard import LabelGuard
from fewmask.io.known import WHY_EMPTY, KnownNote, PutIn, read_known_note, tell_empty
from fewmask.io.nifti import read_labels
from fewmask.io.prepared import write_split, write_tags
from fewmask.io.run import RunFolder
from fewmask.methods import PresenceAware
from fewmask.predict import Cleanup, Predictor, open_known
from fewmask.predict.finish import predict_finished
from fewmask.predict.folder import predict_folder
from fewmask.predict.known import Known, find_empty, read_known, settle
from fewmask.predict.predictor import Prediction
from fewmask.predict.work import load_prepared
from fewmask.training import TrainRequest, train
from tests.narrow import watched
from tests.scans import prepare_scans, write_scans


def test_a_mask_ends_where_tags_end_and_outlines_stay() -> None:
    """Two structures in four slices of 2 x 2. Slice 0 is tagged as holding no `1`: its three voxels
    go, its `2` stays. Slice 3 is tagged empty. Slice 1 is outlined.
    """
    voxels = np.ones((4, 2, 2), np.uint8)
    voxels[0, 0, 0] = 2
    tags = np.array([[0, 1], [1, 1], [-1, 1], [0, 0]], np.int8)
    outline = np.array([[0, 0], [2, 2]], np.uint8)
    done = settle(voxels, Known(tags, {1: outline}))
    assert done.voxels.tolist() == [
        [[2, 0], [0, 0]],
        [[0, 0], [2, 2]],
        [[1, 1], [1, 1]],
        [[0, 0], [0, 0]],
    ]
    assert (done.removed, done.outlined, done.sure.tolist()) == (7, 1, [False, True, False, True])
    assert voxels[3].all(), "the mask that was given is as it was"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("known"))


def test_only_outlines_of_the_budget_are_read(prepared) -> None:
    """The blob lies in slices 2 to 5 of 8."""
    case, other = prepared.split.train[:2]
    guard = LabelGuard(prepared, Budget("slices", 0, slices=((case, 3),)))
    known = read_known(prepared, guard, case)
    assert known.absent[:, 0].tolist() == [True, True, False, False, False, False, True, True]
    assert list(known.outlines) == [3] and known.outlines[3].any()
    assert not read_known(prepared, guard, other).outlines


def test_a_scan_kept_aside_is_never_opened(prepared) -> None:
    case = prepared.split.test[0]
    guard = LabelGuard(prepared, Budget("slices", 0, slices=((case, 3),)))
    with pytest.raises(LabelWithheld):
        read_known(prepared, guard, case)


class Whole:
    """Draws the liver everywhere, or nothing."""

    promptable = False

    def __init__(self, value: int = 1) -> None:
        self.value, self.tags = value, None

    def volume(self, volume: Volume) -> Prediction:
        labels = np.full(volume.shape, self.value, np.uint8)
        return Prediction(LabelMap(labels, volume.grid), None, 0)

    def volume_with_tags(self, volume: Volume, tags) -> Prediction:
        self.tags = tags
        return self.volume(volume)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


def _masks(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    """A U-Net after one step, from two outlined slices of two scans."""
    request = TrainRequest(
        prepared.folder,
        tmp_path_factory.mktemp("run") / "run",
        "unet",
        slices=2,
        steps=1,
        amp="off",
        device="cpu",
        settings=("channels=(4,8)",),
    )
    return RunFolder(train(request))


def test_only_scans_that_were_learned_from_are_changed(prepared, run, tmp_path) -> None:
    """Blobs in slices 2 to 5 of 8, 32 x 32 pixels each: four slices of each mask go, 4096 voxels,
    and the two outlined slices show a blob of 12 x 12.
    """
    drawn, out = tmp_path / "drawn", tmp_path / "out"
    predict_folder(Whole(), prepared.folder, drawn)
    summary = predict_folder(
        Whole(), prepared.folder, out, known=open_known(run.path, prepared.folder)
    )
    assert summary.put_in == PutIn(3 * 4 * 1024, 3, 2, 3)
    assert str(summary.put_in) == (
        "tags and outlines were put in: 12288 voxels removed in 3 of 3 scans, 2 slices show their "
        "outline"
    )
    outlined = dict(run.read_budget().slices)
    for case in prepared.split.train:
        sizes = [1024 if 2 <= d <= 5 else 0 for d in range(8)]
        if case in outlined:
            sizes[outlined[case]] = 144
        voxels = read_labels(out / f"{case}.nii.gz").voxels
        assert voxels.sum((1, 2)).tolist() == sizes
        assert read_known_note(out, case).put_in
    kept_aside = [f"{case}.nii.gz" for case in prepared.split.test]
    assert len(kept_aside) == 2
    assert all(_masks(out)[name] == _masks(drawn)[name] for name in kept_aside)
    assert not any(read_known_note(out, case).put_in for case in prepared.split.test)


def test_tags_planted_on_a_scan_kept_aside_change_no_bit_of_its_mask(
    prepared, run, tmp_path
) -> None:
    """Nor does the training part of a dataset that was split anew, nor another scan of the name."""
    case = prepared.split.test[0]
    copy = shutil.copytree(prepared.folder, tmp_path / "planted")
    write_tags(copy / "tags.csv", {**prepared.tags, case: {"liver": (0, 0)}})
    plain, planted = tmp_path / "plain", tmp_path / "masks"
    predict_folder(Whole(), copy, plain, cases=[case])
    for split in (prepared.split, Split((*prepared.split.train, case), (), ())):
        write_split(copy / "split.toml", split)
        predict_folder(Whole(), copy, planted, cases=[case], known=open_known(run.path, copy))
        assert _masks(planted) == _masks(plain)
    learned = prepared.split.train[0]
    other = json.loads((copy / "dataset.json").read_text())
    for row in other["cases"]:
        row["voxels_sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(other))
    known = open_known(run.path, copy).find(learned, load_prepared(prepared, learned))
    assert known is not None and not known.put_in and not known.outlines


def test_it_can_be_switched_off(prepared, run, tmp_path) -> None:
    known = open_known(run.path, prepared.folder, "none")
    summary = predict_folder(Whole(), prepared.folder, tmp_path / "out", known=known)
    assert summary.put_in is None and summary.empty == []
    assert read_labels(tmp_path / "out" / "case_00.nii.gz").voxels.all()


def test_empty_masks_are_told_however_the_outline_shows(prepared, run, tmp_path) -> None:
    """Two of the masks hold their outlined slice and nothing else."""
    known = open_known(run.path, prepared.folder)
    summary = predict_folder(Whole(0), prepared.folder, tmp_path / "out", known=known)
    assert read_labels(tmp_path / "out" / "case_00.nii.gz").voxels.any() == (
        "case_00" in dict(run.read_budget().slices)
    )
    assert summary.empty == [
        "liver: 5 of 5 masks empty, but tags say it is there (case_00, case_01, case_02, "
        "case_03, case_04)",
        f"F18: found nowhere; {WHY_EMPTY}",
    ]
    scores = predict_folder(Whole(0), prepared.folder, tmp_path / "scored")
    assert scores.empty == []  # nobody asked


def test_what_counts_as_empty() -> None:
    """Three slices; slice 1 is outlined."""
    nothing, some = np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2), np.uint8)
    some[0] = 1
    blob = np.ones((2, 2), np.uint8)

    def empty(voxels, tags, outlines=None) -> dict[str, str]:
        known = Known(np.array([tags], np.int8).T, outlines or {})
        return find_empty(voxels, known, ("liver",))

    assert empty(nothing, [0, 1, 1]) == {"liver": "tags"}
    assert empty(some, [0, 1, 1]) == {}
    assert empty(nothing, [0, 1, 0], {1: blob}) == {}, "all that was tagged is outlined"
    assert empty(nothing, [-1, -1, -1], {1: blob}) == {"liver": "outlines"}
    assert empty(nothing, [0, 0, 0]) == {}
    assert empty(nothing, [-1, -1, -1]) == find_empty(nothing, None, ("liver",)) == {"liver": ""}
    assert find_empty(some, None, ("liver",)) == {}


def test_whoever_outlines_all_of_a_structure_says_nothing_of_the_rest() -> None:
    """Six slices, no tags: 1 to 3 are outlined, or 1, 3 and 4, between which it goes on."""
    nothing, blob = np.zeros((6, 2, 2), np.uint8), np.ones((2, 2), np.uint8)
    silent = np.full((6, 1), -1, np.int8)
    whole = Known(silent, dict.fromkeys((1, 2, 3), blob))
    assert find_empty(nothing, whole, ("liver",)) == {}
    gap = Known(silent, dict.fromkeys((1, 3, 4), blob))
    assert find_empty(nothing, gap, ("liver",)) == {"liver": "outlines"}


def test_f18_empty_masks_that_nobody_tagged_count_if_all_are() -> None:
    bad, good = KnownNote(empty={"liver": ""}), KnownNote()
    assert tell_empty({"a": bad, "b": bad}) == [
        "2 of 2 masks empty (a, b)",
        f"F18: found nowhere; {WHY_EMPTY}",
    ]
    assert tell_empty({"a": bad, "b": good}) == tell_empty({}) == []


def test_what_was_said_is_put_in_again_after_clean_up(prepared, tmp_path) -> None:
    """The outline's second part, which clean-up drops, comes back; its first, dropped before, too.
    The network's two parts are 4 and 1 pixels large in each of the slices 0 and 1.
    """
    drawn = np.zeros((2, 4, 4), np.uint8)
    drawn[:, :2, :2], drawn[:, 3, 3] = 1, 1
    outline = np.zeros((4, 4), np.uint8)
    outline[0, 0], outline[3, 3] = 1, 1
    volume = Volume.from_file_order(np.zeros((4, 4, 2), np.int16), np.diag([-1.0, -1, 1, 1]))
    rule = CleanupRule({"liver": StructureRule("largest")})

    class Draws(Whole):
        def volume(self, volume: Volume) -> Prediction:
            return Prediction(LabelMap(drawn, volume.grid), None, 0)

    known = Known(np.array([[1], [1]], np.int8), {1: outline})
    cleanup = Cleanup(("liver",), rule)
    done = predict_finished(Draws(), volume, known, cleanup, ("liver",))
    voxels = done.prediction.label_map.voxels
    assert np.array_equal(voxels[1], outline)
    assert voxels[0].sum() == 4 and not voxels[0, 3, 3]
    assert done.note == KnownNote(True, 0, (1,), {}, "automatic")


def test_tags_of_new_scans_end_their_masks_and_mark_them(run, prepared, tmp_path) -> None:
    """Slices 1 and 2 of 8. The scan without a line is drawn as ever."""
    write_scans(tmp_path / "scans", 2)
    table = tmp_path / "new.csv"
    table.write_text("case,first_slice,last_slice\nCase_00.nii.gz,1.0,2.0\nghost,0,1\n")
    images, out = tmp_path / "scans" / "images", tmp_path / "out"
    network = Whole()
    summary = predict_folder(network, images, out, known=open_known(run.path, images, tags=table))
    assert np.asarray(network.tags)[:, 0].tolist() == [0, 1, 1, 0, 0, 0, 0, 0]
    filled = read_labels(out / "case_00.nii.gz").voxels.all((1, 2))
    assert np.flatnonzero(filled).tolist() == [1, 2]
    assert read_labels(out / "case_01.nii.gz").voxels.all()
    assert summary.prompts == {"tags": ["case_00"], "automatic": ["case_01"]}
    assert "new.csv: no case is called ghost   nearest: case_00, case_01" in summary.notes
    scored = score_folders(out, tmp_path / "scans" / "labels", {"liver": (6,)}).scores
    assert [(score.case, score.prompts) for score in scored] == [
        ("case_00", "tags"),
        ("case_01", "automatic"),
    ]
    predict_folder(network, images, out)  # a note of an earlier mask is gone
    assert read_known_note(out, "case_00") == KnownNote()
    with pytest.raises(BadConfig, match="has its own tags"):
        open_known(run.path, prepared.folder, tags=table)


def test_tags_that_do_not_fit_are_refused(run, tmp_path) -> None:
    """An unknown structure at once, a table of other scans before any mask, numbers beyond a scan
    with that scan.
    """
    write_scans(tmp_path / "scans", 2)
    table, images = tmp_path / "new.csv", tmp_path / "scans" / "images"
    table.write_text("case,class,first_slice,last_slice\ncase_00,spleen,1,2\n")
    with pytest.raises(BadDataset, match=r"new\.csv does not fit"):
        open_known(run.path, images, tags=table)
    table.write_text("case,first_slice,last_slice\nghost,1,2\n")
    with pytest.raises(BadDataset, match="no line is of a case that is there"):
        predict_folder(
            Whole(), images, tmp_path / "out", known=open_known(run.path, images, tags=table)
        )
    assert not (tmp_path / "out").exists()
    table.write_text("case,class,first_slice,last_slice\ncase_00,liver,1,9\n")
    known = open_known(run.path, images, tags=table)
    summary = predict_folder(Whole(), images, tmp_path / "out", known=known)
    assert summary.written == ["case_01"] and [line["case"] for line in summary.refused] == [
        "case_00"
    ]
    table.write_text("case,class,first_slice,last_slice\ncase_00,liver,1,9\ncase_01,liver,1,9\n")
    known = open_known(run.path, images, tags=table)
    with pytest.raises(BadScan, match="no mask could be made") as caught:
        predict_folder(Whole(), images, tmp_path / "none", known=known)
    assert "`slices_from=1`" in caught.value.fix, "what mends them all, not `check`"


def test_a_method_that_judges_slices_is_told_what_they_hold(run, prepared, monkeypatch) -> None:
    """Once more where tags and what was drawn differ; of slices nobody tagged what was drawn."""
    predictor = Predictor.load(run.path, "cpu")
    asked: list[bool] = []
    assert isinstance(predictor.method, PresenceAware)
    plain = predictor.method.predict_present

    def note(image, present):
        asked.extend(present[:, 0].tolist())
        return plain(image, present)

    monkeypatch.setattr(predictor.method, "predict_present", note)
    volume = load_prepared(prepared, prepared.split.test[0])
    own = np.array([mask.any() for mask in predictor.volume(volume).label_map.voxels])
    assert not asked
    tags = np.where(own, 0, 1).astype(np.int8)[:, None]  # all against what is drawn
    tags[4:7] = -1
    masks = predictor.volume_with_tags(volume, tags).label_map.voxels
    assert asked == [not own[d] for d in (0, 1, 2, 3, 7)]
    assert not masks[tags[:, 0] == 0].any()
    assert np.array_equal(masks[4:7], predictor.volume(volume).label_map.voxels[4:7])


def test_slices_that_tags_call_empty_are_not_even_seen(run, prepared, monkeypatch) -> None:
    """Others come out as if all had been; an unseen slice is empty for sure."""
    predictor = Predictor.load(run.path, "cpu")
    predictor.with_confidence = True
    volume = load_prepared(prepared, prepared.split.test[0])
    tags = np.array([0, 0, 1, 1, -1, -1, 0, 0], np.int8)[:, None]
    whole = predictor.volume_with_tags(volume, tags)
    seen: list[int] = []
    note = watched(Predictor._place, lambda self, volume, wanted, placement: seen.extend(wanted))
    monkeypatch.setattr(Predictor, "_place", note)
    quick = predictor.volume_with_tags(volume, tags, skip_empty=True)
    assert set(seen) == {2, 3, 4, 5}
    assert np.array_equal(quick.label_map.voxels[2:6], whole.label_map.voxels[2:6])
    assert not quick.label_map.voxels[[0, 1, 6, 7]].any()
    assert quick.confidence is not None and whole.confidence is not None
    assert (quick.confidence[[0, 1, 6, 7]] == 255).all()
    assert np.array_equal(quick.confidence[2:6], whole.confidence[2:6])

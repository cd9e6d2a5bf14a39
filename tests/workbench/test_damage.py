"""Files of WORK that are damaged, changed or gone: one case is refused, what was drawn stays."""

import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, NoRoom
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.atomic import no_room
from fewmask.io.image import read_labels, write_labels
from fewmask.io.nifti import write_volume
from fewmask.workbench.folder import MANIFEST, key_of
from fewmask.workbench.voxels import without_paths
from tests.workbench.data import SHAPE, _turned, client, opened, put, write_data

H, W = 12, 6
FULL = np.ones((H, W), np.uint8)
HEAD = b'{"slice": 3, "state": "outlined", "shape": [9, 12, 6]}\n'
TAGS = "case,class,first_slice,last_slice\n"


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data", 2)
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEAD + b"cut",
        HEAD + zlib.compress(b"\1" * 5),
        HEAD + zlib.compress(b"\11" * 72),
        HEAD.replace(b"3", b"99", 1) + zlib.compress(b"\1" * 72),
        HEAD.replace(b"outlined", b"lost") + zlib.compress(b"\1" * 72),
    ],
)
def test_a_damaged_entry_of_the_journal_refuses_its_case_alone(folder, content) -> None:
    with opened(folder) as bench:
        journal = bench.folder.journal("c0")
    journal.mkdir()
    entry = journal / "3.slice"
    entry.write_bytes(content)
    with opened(folder) as bench:
        bench.outlines.write("c1", 2, FULL, "outlined", 0)
        bench.outlines.flush()
        assert bench.folder.label_file("c1").exists() and not list(journal.parent.glob("c1"))
        with pytest.raises(BadConfig, match="a saved slice of c0 is damaged") as caught:
            bench.outlines.outlined("c0")
        assert caught.value.code == "C03" and str(entry) in caught.value.fix
        assert bench.outlines._writer.is_alive()
    assert entry.read_bytes() == content


def test_strokes_wait_in_the_journal_while_the_label_file_is_broken(folder) -> None:
    with opened(folder, labels={"liver": (1,), "kidney": (2,)}) as bench:
        bench.outlines.write("c0", 2, FULL, "outlined", 0)
        bench.outlines.flush()
        path = bench.folder.label_file("c0")
        whole = path.read_bytes()
        bench.outlines._pause = 60.0  # the writer sleeps: the next stroke stays in the journal
        bench.outlines.write("c0", 3, 2 * FULL, "outlined", 0)
        path.write_bytes(whole[:40])
        bench.outlines.flush()
        assert path.read_bytes() == whole[:40]
        with pytest.raises(FewmaskError):
            bench.outlines.outlined("c0")
        path.write_bytes(whole)
        assert bench.outlines.outlined("c0") == {2: "outlined", 3: "outlined"}
        bench.outlines.flush()
        assert path.read_bytes() != whole
    with opened(folder) as bench:
        np.testing.assert_array_equal(bench.outlines.read("c0", 3).mask, 2 * FULL)


def test_a_folder_that_somebody_removed_is_written_again(folder) -> None:
    with opened(folder) as bench:
        bench.outlines.write("c0", 2, FULL, "outlined", 0)
        bench.outlines.flush()
        shutil.rmtree(bench.folder.root)
        page = client(bench)
        lost = page.get("/api/status")
        assert lost.status_code == 507 and str(folder) not in lost.text
        assert put(page, 3, FULL.tobytes(), 0).status_code == 200
        shutil.rmtree(bench.folder.journal("c0"))
        bench.outlines.flush()
        info, path = bench.voxels.info("c0"), bench.folder.label_file("c0")
        drawn = read_labels(path, grid=info.grid).in_plane(info.grid.plane).voxels
        assert set(np.flatnonzero(drawn.any((1, 2)))) == {2, 3}


def test_a_table_that_cannot_be_read_is_not_written_over(folder) -> None:
    with opened(folder) as bench:
        table = bench.folder.root / "tags.csv"
        table.write_text("what I typed")
        for _ in range(2):
            with pytest.raises(BadDataset, match=r"tags\.csv"):
                bench.tables.set_tag("c0", "liver", (1, 2), 0)
        assert table.read_text() == "what I typed"
        table.unlink()


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(folder, monkeypatch) -> None:
    """Declared empty, it is in no label file: nothing but the table says it."""
    with opened(folder) as bench:
        bench.outlines._pause = 60.0
        bench.outlines.write("c0", 2, 0 * FULL, "empty", 0)
        with monkeypatch.context() as patch:
            patch.setattr("fewmask.workbench.tables.write_csv", _full_table)
            with pytest.raises(NoRoom):
                bench.outlines.flush()
            for _ in range(2):
                with pytest.raises(NoRoom):
                    bench.tables.set_tag("c0", "liver", (1, 2), 0)
                with pytest.raises(NoRoom):
                    bench.tables.set_accepted("c0", 1)
        assert not bench.tables.tags("c0") and bench.tables.accepted("c0") is None
        bench.outlines.flush()
    with opened(folder) as bench:
        assert bench.outlines.outlined("c0") == {2: "empty"}


@pytest.mark.parametrize("cells", ["abc,xyz", "-1,-1", "1.5,2"])
def test_a_tag_of_no_slice_is_kept_as_it_is(folder, cells) -> None:
    """It must not become two empty cells, which say that the structure is not in this scan."""
    with opened(folder) as bench:
        table = bench.folder.root / "tags.csv"
        table.write_text(f"{TAGS}c0,liver,{cells}\n")
        bench.tables.set_tag("c0", "kidney", (1, 3), 0)
        assert table.read_text().split() == [TAGS.strip(), "c0,kidney,1,3", f"c0,liver,{cells}"]
        assert bench.tables.tags("c0") == {"kidney": (1, 3)}
        bench.tables.set_tag("c0", "liver", (0, 4), bench.tables.tags_revision("c0"))
        assert table.read_text().split()[1:] == ["c0,kidney,1,3", "c0,liver,0,4"]


def test_a_scan_in_the_cache_that_was_cut_is_read_again(folder) -> None:
    with opened(folder) as bench:
        before = bench.voxels.slice("c0", 0, 8)
        path = bench.folder.cache / f"{key_of('c0')}.npy"
        for size in (0, 60, 300):
            path.write_bytes(path.read_bytes()[:size])
            np.testing.assert_array_equal(bench.voxels.slice("c0", 0, 8), before)


def test_a_scan_that_was_replaced_is_shown_even_without_room_to_read_it_ahead(folder) -> None:
    with opened(folder) as bench:
        bench.voxels.info("c0")
    other = np.full(SHAPE, 7, np.int16)
    other[0] = 9
    write_volume(folder / "data" / "images" / "c0.nii.gz", Volume(*_turned(other)))
    with opened(folder, cache_bytes=1) as bench:
        bench.voxels.look("c0")
        assert set(bench.voxels.slice("c0", 0, 2).ravel()) == {7}


def test_a_full_disk_refuses_no_scan(folder, monkeypatch) -> None:
    with opened(folder) as bench:
        with monkeypatch.context() as patch:
            patch.setattr("numpy.lib.format.write_array_header_1_0", _full)
            with pytest.raises(NoRoom) as caught:
                bench.voxels.info("c0")
            assert caught.value.code == "F09"
        assert bench.voxels.refusal("c0") is None and bench.voxels.info("c0").shape == (9, 12, 6)


def test_masks_of_a_round_are_shown_without_room_and_never_an_older_one(
    folder, monkeypatch
) -> None:
    with opened(folder) as bench:
        info, path = bench.voxels.info("c0"), bench.folder.predictions(1) / "c0.nii.gz"
        path.parent.mkdir(parents=True)
        labels = np.zeros(info.shape, np.uint8)
        for value in (1, 2):  # the second file is older than the first: it came from elsewhere
            labels[4] = value
            write_labels(path, LabelMap(labels, info.grid))
            os.utime(path, (10**9 - value,) * 2)
            assert int(bench.predicted.mask("c0", 1).max()) == value
        with monkeypatch.context() as patch:
            patch.setattr(np, "save", _full)
            labels[4] = 1
            write_labels(path, LabelMap(labels, info.grid))
            assert int(bench.predicted.mask("c0", 1).max()) == 1
        assert not list(bench.folder.cache.glob(".*.part"))


@pytest.mark.parametrize("nonsense", ['{"plane": "diagonal"}', '{"data": 5}'])
def test_a_manifest_of_nonsense_names_itself(folder, nonsense) -> None:
    with opened(folder) as bench:
        manifest = bench.folder.root / MANIFEST
    manifest.write_text(f'{{"format": 1, {nonsense[1:]}')
    with pytest.raises(BadConfig, match=r"workbench\.json|diagonal") as caught, opened(folder):
        pass
    assert str(manifest) in " ".join(caught.value.where)


def test_paths_of_an_error_stay_in_the_terminal() -> None:
    error = FewmaskError(
        "cannot read /a b/c/scan.nii", where=["file  /a b/c/scan.nii"], fix="see /a b/c/scan.nii"
    )
    assert without_paths(error.what, error) == "cannot read scan.nii"


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_refused_case_stops_neither_rounds_nor_the_page(folder) -> None:
    """And outlines of a scan that nobody opened since count as learned: they are in its files."""
    with opened(folder) as bench:
        for case in ("c0", "c1"):
            bench.outlines.write(case, 2, FULL, "outlined", 0)
        bench.outlines.flush()
        shutil.rmtree(bench.folder.cache)
    with opened(folder) as bench:
        assert bench.rounds._outlined() == {"c0": {2}, "c1": {2}}
        bench.folder.label_file("c0").write_bytes(b"cut")
        assert bench.rounds._outlined() == {"c1": {2}}


def _full_table(path: Path, *_: object) -> None:
    raise no_room(OSError(28, "No space left on device"), path)

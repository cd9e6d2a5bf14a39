"""Scans that memory has no room for are read once all the same, and leave nothing behind."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from fewmask.core.batch import BatchSpec
from fewmask.core.budget import Budget
from fewmask.data.patches import PatchLoader
from fewmask.data.room import Room
from fewmask.io.prepared import Prepared
from tests.narrow import required
from tests.scans import prepare_scans

FEED = BatchSpec(patch=(8, 16, 16), labelled=1, unlabelled=2, turns=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("scans"))


def read(
    prepared: Prepared, spill: Path | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[torch.Tensor], Counter[str]]:
    """The images of six steps, and how often each scan was read."""
    reads: Counter[str] = Counter()
    honest = PatchLoader._read_image

    def count(self: PatchLoader, case: str) -> torch.Tensor:
        reads[case] += 1
        return honest(self, case)

    with monkeypatch.context() as patch:
        patch.setattr(PatchLoader, "_read_image", count)
        budget = Budget("volumes", 0, volumes=(prepared.split.train[0],))
        with PatchLoader(prepared, budget, FEED, 0, spill=spill) as loader:
            batches = [loader.batch(index) for index in range(6)]
    return [required(batch.unlabelled).image for batch in batches], reads


def test_beyond_memory_every_scan_is_read_once_and_patches_are_the_same(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, once = read(prepared, None, monkeypatch)
    monkeypatch.setattr("fewmask.data.patches._CACHE_BYTES", 0)
    monkeypatch.setattr("fewmask.data.room._LEFT_FREE", 0)
    again, often = read(prepared, None, monkeypatch)
    found, spilt = read(prepared, tmp_path, monkeypatch)
    assert set(once.values()) == set(spilt.values()) == {1}
    assert len(spilt) == 3 and sum(often.values()) >= 18, "three patches a step, each a scan"
    for one, other, third in zip(wanted, again, found, strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_memory_comes_first_and_a_disk_is_not_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, ten = Room(100, tmp_path), torch.arange(10.0)
    assert required(room.keep("a", ten)) is ten and required(room.keep("b", ten)) is ten
    monkeypatch.setattr("fewmask.data.room._LEFT_FREE", 2**62)
    assert room.keep("c", ten) is None, "so much is not free"
    monkeypatch.setattr("fewmask.data.room._LEFT_FREE", 0)
    mapped = required(room.keep("c", ten.reshape(2, 5)))
    assert mapped is not ten and torch.equal(mapped, ten.reshape(2, 5))
    assert required(room.keep("d", ten.to(torch.uint8))).dtype == torch.uint8
    assert Room(0).keep("a", ten) is None and Room(0, tmp_path / "no").keep("a", ten) is None
    room.close()
    assert not list(tmp_path.iterdir())

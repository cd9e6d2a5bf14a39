"""CFR's stages: each in its own run folder, labels made once and for unlabelled scans only, resumed where they stopped."""

import csv

import numpy as np
import pytest

from fewmask.core.errors import BadConfig, Interrupted
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder
from fewmask.predict import Predictor
from fewmask.predict.folder import load_prepared
from fewmask.training import Progress, TrainRequest, train
from tests.scans import prepare_scans

SMALL = ("patch=(16,32,32)", "filters=4", "finetune.encoder='tiny'", "finetune.patch=(16,32,32)", "finetune.canvas=128")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"), 6)


def request(prepared, out, *settings, **changes) -> TrainRequest:
    base = {"method": "cfr", "volumes": 1, "steps": 3, "device": "cpu", "amp": "off", "settings": (*SMALL, *settings), "out": out}
    return TrainRequest(prepared=prepared.folder, **{**base, **changes})


def test_cfr_fine_tunes_labels_and_trains_again(prepared, tmp_path) -> None:
    seen: list[Progress] = []
    run = RunFolder.open(train(request(prepared, tmp_path / "run"), seen.append))
    (labelled,) = run.read_budget().volumes
    others = sorted(set(prepared.split.train) - {labelled})
    made = sorted(path.name for path in (run.path / "pseudo").glob("*.nii.gz"))
    assert made == sorted(f"{case}{kind}.nii.gz" for case in others for kind in ("", ".confidence"))
    assert "mm, more than 2.5 mm" in seen[0].note and seen[3].note.startswith("finetune: 1 of 3")
    assert run.read_config()["method"] == "cfr" and RunFolder.open(run.path / "finetune").read_config()["method"] == "canvas_sam"
    assert {"supervised", "consistency", "sam"} <= set(run.read_losses(3)[0])
    assert not any("sam" in name for name in Predictor.load(run.path).method.state_dict()), "SAM is gone at test time"
    scan = load_prepared(prepared, others[0])
    assert np.array_equal(
        Predictor.load(run.path / "finetune").volume(scan).label_map.voxels,
        read_labels(run.path / "pseudo" / f"{others[0]}.nii.gz").voxels,
    )


def test_stopped_between_its_stages_it_goes_on_to_the_same_weights(prepared, tmp_path) -> None:
    whole = RunFolder.open(train(request(prepared, tmp_path / "whole")))

    def stop(progress: Progress) -> None:
        if progress.note.startswith("finetune: 2"):
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        train(request(prepared, tmp_path / "run"), stop)
    assert not (tmp_path / "run" / "pseudo" / "confidence.csv").exists()
    again = RunFolder.open(train(request(prepared, tmp_path / "run")))
    assert again.weights.read_bytes() == whole.weights.read_bytes()


def test_until_stops_after_the_fine_tuning(prepared, tmp_path) -> None:
    path = train(request(prepared, tmp_path / "run", until="finetune"))
    assert path == tmp_path / "run" / "finetune" and RunFolder.open(path).weights.exists()
    with pytest.raises(BadConfig, match="no stage 'pretrain'"):
        train(request(prepared, tmp_path / "run", until="pretrain"))
    with pytest.raises(BadConfig, match="no stage"):
        train(request(prepared, tmp_path / "vnet", method="vnet", settings=SMALL[:2], until="finetune"))


def test_online_labels_are_made_in_every_step(prepared, tmp_path) -> None:
    run = RunFolder.open(train(request(prepared, tmp_path / "run", "pseudo='online'", "term='none'")))
    assert not (run.path / "pseudo").exists()
    assert {"supervised", "sam"} <= set(run.read_losses(3)[0])


@pytest.mark.parametrize(("sure", "expected"), [(0.0, 1), (1.1, 0)])
def test_sfr_plus_lets_sure_scans_teach_sam_and_sam_label_the_others(prepared, tmp_path, sure, expected) -> None:
    run = RunFolder.open(train(request(prepared, tmp_path / "run", f"sure={sure}", method="sfr_plus")))
    with (run.path / "sure" / "confidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and {int(row["labelled"]) for row in rows} == {expected}
    taught = {name for row in RunFolder.open(run.path / "update").read_losses(3) for name, value in row.items() if value}
    assert ("pseudo" in taught) == bool(expected)
    assert len(list((run.path / "unsure").glob("*.nii.gz"))) == (0 if expected else 6)


def test_labels_below_the_trust_are_left_out(prepared, tmp_path) -> None:
    run = RunFolder.open(train(request(prepared, tmp_path / "run", "trust=1.0", "term='none'")))
    assert all(float(row["sam"]) < 1e-3 for row in run.read_losses(3)), "an untrained SAM is sure of no voxel"

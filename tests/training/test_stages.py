"""CFR's stages: each in its own run folder, labels made once and for unlabelled scans only, resumed
where they stopped.
"""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.core.batch import IGNORE
from fewmask.core.errors import BadCheckpoint, BadConfig, Interrupted
from fewmask.data.patches import PatchLoader
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder
from fewmask.io.text import write_json
from fewmask.io.weights import load_into
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training import ProgressEvent, TrainRequest, draw_budget, train
from fewmask.training import run as training_run
from fewmask.training.stages import check_plan, online_labels, plan_stages
from tests.narrow import required, watched
from tests.scans import prepare_scans

SMALL = (
    "patch=(16,32,32)",
    "filters=4",
    "finetune.encoder='tiny'",
    "finetune.patch=(16,32,32)",
    "finetune.canvas=128",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"), 6)


def request(prepared, out, *settings, **changes) -> TrainRequest:
    base = {
        "method": "cfr",
        "volumes": 1,
        "steps": 3,
        "device": "cpu",
        "amp": "off",
        "settings": (*SMALL, *settings),
        "out": out,
    }
    return TrainRequest(prepared=prepared.folder, **{**base, **changes})


def test_cfr_fine_tunes_labels_and_trains_again(prepared, tmp_path) -> None:
    seen: list[ProgressEvent] = []
    run = RunFolder.open(train(request(prepared, tmp_path / "run"), seen.append))
    (labelled,) = run.read_budget().volumes
    others = sorted(set(prepared.split.train) - {labelled})
    made = sorted(path.name for path in (run.path / "pseudo").glob("*.nii.gz"))
    assert made == sorted(f"{case}{kind}.nii.gz" for case in others for kind in ("", ".confidence"))
    assert "mm, more than 2.5 mm" in seen[0].note and seen[3].note.startswith("finetune: 1 of 3")
    assert (
        run.read_record().method == "cfr"
        and RunFolder.open(run.path / "finetune").read_record().method == "canvas_sam"
    )
    assert {"supervised", "consistency", "sam"} <= set(run.read_losses(3)[0])
    assert not any("sam" in name for name in Predictor.load(run.path).method.state_dict()), (
        "SAM is gone at test time"
    )
    scan = load_prepared(prepared, others[0])
    assert np.array_equal(
        Predictor.load(run.path / "finetune").volume(scan).label_map.voxels,
        read_labels(run.path / "pseudo" / f"{others[0]}.nii.gz").voxels,
    )


def test_stopped_between_its_stages_it_goes_on_to_the_same_weights(prepared, tmp_path) -> None:
    whole = RunFolder.open(train(request(prepared, tmp_path / "whole")))

    def stop(progress: ProgressEvent) -> None:
        if progress.note.startswith("finetune: 2"):
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        train(request(prepared, tmp_path / "run"), stop)
    pseudo, weights = tmp_path / "run" / "pseudo", tmp_path / "run/finetune/weights.safetensors"
    assert not (pseudo / "confidence.csv").exists()
    kept = weights.rename(tmp_path / "kept")
    with pytest.raises(BadCheckpoint, match="was finished here"):  # its labels are there
        train(request(prepared, tmp_path / "run"))
    kept.rename(weights)
    made = {path: path.stat().st_mtime_ns for path in pseudo.glob("*.nii.gz")}
    again = RunFolder.open(train(request(prepared, tmp_path / "run")))
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    assert (
        len(made) == 4
        and made.items()
        <= {path: path.stat().st_mtime_ns for path in pseudo.glob("*.nii.gz")}.items()
    )
    assert (pseudo / "confidence.csv").read_bytes() == (
        whole.path / "pseudo" / "confidence.csv"
    ).read_bytes()


def test_a_signal_while_scans_are_labelled_stops_after_the_scan_at_hand(prepared, tmp_path) -> None:
    def send(progress: ProgressEvent) -> None:
        if progress.note.startswith("finetune: 1"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="after labelling 1 of 3 scans") as stopped:
        train(request(prepared, tmp_path / "run"), send)
    assert (
        stopped.value.exit_code == 143
        and len(list((tmp_path / "run" / "pseudo").glob("*.nii.gz"))) == 2
    )


@pytest.mark.parametrize(
    "method",
    [
        "mean_teacher",
        "cfr",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("bcp", "cps", "self_training", "ac_mt", "magicnet", "sfr_plus")
        ),
    ],
)
def test_stopped_within_a_training_it_goes_on_to_the_same_bits(prepared, tmp_path, method) -> None:
    """In the fifth of nine steps, saved after the third; of several trainings in each."""
    settings = {
        "cfr": SMALL,
        "sfr_plus": SMALL,
        "magicnet": ("patch=(32,32,32)", "filters=4", "cubes=2"),
    }.get(method, SMALL[:2])
    asked = {"method": method, "settings": settings, "steps": 9, "save_steps": 3}
    whole = RunFolder.open(train(request(prepared, tmp_path / "whole", **asked)))
    broken = request(prepared, tmp_path / "run", **asked)
    seen: list[int] = []

    def stop(progress: ProgressEvent) -> None:
        if progress.losses and progress.done == 5:
            seen.append(progress.saved_step)
            if len(seen) % 2:  # every other time it has gone on from its save
                raise Interrupted("stopped")

    for _ in plan_stages(broken):
        with pytest.raises(Interrupted):
            train(broken, stop)
    again = RunFolder.open(train(broken, stop))
    assert seen == [3, 3] * len(plan_stages(broken))
    assert again.weights.read_bytes() == whole.weights.read_bytes()


def test_a_first_stage_that_another_run_has_trained_is_taken_from_there(prepared, tmp_path) -> None:
    tuning = tuple(
        setting.removeprefix("finetune.") for setting in SMALL if setting.startswith("finetune.")
    )
    alone = RunFolder(
        train(request(prepared, tmp_path / "sam" / "run", method="canvas_sam", settings=tuning))
    )
    whole = RunFolder(train(request(prepared, tmp_path / "whole")))
    seen: list[ProgressEvent] = []
    run = RunFolder(
        train(
            request(prepared, tmp_path / "sam" / "cfr" / "run", reuse_from=tmp_path / "sam"),
            seen.append,
        )
    )
    assert str(alone.path) in seen[0].note and not seen[0].losses
    assert run.weights.read_bytes() == whole.weights.read_bytes()
    tuned = RunFolder(run.path / "finetune")
    assert (
        tuned.read_losses(3) == alone.read_losses(3)
        and tuned.weights.read_bytes() == alone.weights.read_bytes()
    )


def test_a_run_that_another_one_has_trained_but_for_what_matters_in_prediction_is_taken_from_there(
    prepared, tmp_path
) -> None:
    base = {"method": "multimix", "volumes": None, "slices": 2, "steps": 2}
    small = ("channels=(8,16,16)",)
    one = RunFolder(train(request(prepared, tmp_path / "one", **base | {"settings": small})))
    seen: list[ProgressEvent] = []
    asked = request(
        prepared,
        tmp_path / "two",
        **base | {"settings": (*small, "presence=none"), "reuse_from": tmp_path},
    )
    run = RunFolder.open(train(asked, seen.append))
    assert seen[0].note == f"trained already, taken from {one.path}" and not seen[0].losses
    assert run.weights.read_bytes() == one.weights.read_bytes() and run.read_losses(
        3
    ) == one.read_losses(3)
    assert run.cleanup.exists() and not one.cleanup.samefile(run.cleanup)
    presence = [folder.read_record().config["presence"] for folder in (run, one)]
    assert presence == ["none", "slice"]
    train(
        request(
            prepared,
            tmp_path / "three",
            **base | {"settings": (*small, "lr=0.01"), "reuse_from": tmp_path},
        ),
        seen.append,
    )
    assert seen[1].losses, "another learning rate is another training"


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 2}, {"volumes": 2}, {"draw": 1}])
def test_another_training_is_nobodys_twin(prepared, tmp_path, change) -> None:
    train(request(prepared, tmp_path / "one", until="finetune"))
    seen: list[ProgressEvent] = []
    train(
        request(prepared, tmp_path / "other", until="finetune", reuse_from=tmp_path, **change),
        seen.append,
    )
    assert seen[0].losses


def test_a_training_of_other_code_is_nobodys_twin(prepared, tmp_path) -> None:
    one = RunFolder(train(request(prepared, tmp_path / "one", until="finetune")))
    write_json(one.path / "environment.json", one.read_environment() | {"code": "older"})
    seen: list[ProgressEvent] = []
    train(request(prepared, tmp_path / "other", until="finetune", reuse_from=tmp_path), seen.append)
    assert seen[0].losses


def test_until_stops_after_the_fine_tuning(prepared, tmp_path) -> None:
    path = train(request(prepared, tmp_path / "run", until="finetune"))
    assert path == tmp_path / "run" / "finetune" and RunFolder.open(path).weights.exists()
    assert not (tmp_path / "run" / "pseudo").exists(), "labels are for the stage that follows"
    with pytest.raises(BadConfig, match="no stage 'pretrain'"):
        train(request(prepared, tmp_path / "run", until="pretrain"))
    with pytest.raises(BadConfig, match="no stage"):
        train(
            request(
                prepared, tmp_path / "vnet", method="vnet", settings=SMALL[:2], until="finetune"
            )
        )


def test_online_labels_are_made_in_every_step(prepared, tmp_path) -> None:
    asked = request(prepared, tmp_path / "run", "pseudo='online'", "term='none'")
    run = RunFolder.open(train(asked))
    assert not (run.path / "pseudo").exists()
    assert {"supervised", "sam"} <= set(run.read_losses(3)[0])
    label = online_labels(run.path, plan_stages(asked)[-1], torch.device("cpu"))
    with PatchLoader(
        prepared, run.read_budget(), Predictor.load(run.path).method.batch_spec, 0
    ) as loader:
        pseudo = required(required(label(loader.batch(0)).unlabelled).pseudo)
    beyond = [
        (pseudo[:, rows] == IGNORE).float().mean().item()
        for rows in (slice(4), slice(4, 12), slice(12, None))
    ]
    assert beyond == [1.0, 0.0, 1.0], "eight slices in the middle of sixteen"


@pytest.mark.parametrize(
    ("method", "settings", "budget", "left"),
    [
        ("cfr", (), {"volumes": 3}, True),
        ("cfr", (), {"volumes": 4}, False),
        ("sfr_plus", (), {"volumes": 4}, False),
        ("cfr", ("pseudo=online",), {"volumes": 4}, False),
        ("cfr", (), {"slices": 3}, True),
        ("cfr", (), {"slices": 4}, False),
        ("cfr", ("pseudo=online",), {"slices": 4}, True),
        ("mean_teacher", (), {"volumes": 4}, True),
    ],
)
def test_a_budget_that_leaves_nothing_to_label_is_refused(
    prepared, tmp_path, method, settings, budget, left
) -> None:
    """Four training scans of four patients; slices come from one patient after another, so four of
    them touch every scan.
    """
    asked = TrainRequest(
        prepared.folder, tmp_path / "run", method=method, settings=settings, **budget
    )
    plan, drawn = plan_stages(asked), draw_budget(asked, prepared)
    if left:
        check_plan(plan, prepared, drawn)
        return
    with pytest.raises(BadConfig, match="none is left to label") as refused:
        check_plan(plan, prepared, drawn)
    (kind,) = budget
    assert refused.value.where == (f"4 labelled {kind} lie in 4 of 4 training scans",)
    assert f"fewer `{kind}`" in refused.value.fix


def test_fine_tuning_alone_may_have_every_scan(prepared, tmp_path) -> None:
    asked = TrainRequest(
        prepared.folder, tmp_path / "run", method="cfr", volumes=4, until="finetune"
    )
    check_plan(plan_stages(asked), prepared, draw_budget(asked, prepared))


def encoders(prepared, method: str, *settings: str) -> list[str]:
    asked = TrainRequest(
        prepared.folder,
        prepared.folder,
        method=method,
        volumes=1,
        encoder="vit-b",
        settings=settings,
    )
    return [stage.config.encoder for stage in plan_stages(asked) if stage.method == "canvas_sam"]


def test_the_encoder_is_that_of_the_stage_with_a_sam(prepared) -> None:
    assert encoders(prepared, "cfr") == ["vit-b"] and encoders(prepared, "sfr_plus") == [
        "vit-b",
        "vit-b",
    ]
    assert encoders(prepared, "canvas_sam") == ["vit-b"]
    assert encoders(prepared, "cfr", "finetune.encoder=tiny") == ["tiny"], "--set has the last word"
    with pytest.raises(BadConfig, match="vnet has no encoder"):
        encoders(prepared, "vnet")


@pytest.mark.parametrize(
    ("method", "settings", "what", "fix"),
    [
        ("sfr_plus", ("pseudo=online",), "its labels are stored", "leave pseudo out"),
        ("cfr", ("pseudo=online", "trust=0.9"), "trust=0.9", "leave trust out"),
        ("cfr", ("patch=(16,32,48)",), "32 x 48", "use `turns=false`"),
        ("cfr", ("finetune.patch=(16,32,48)",), "32 x 48", "use `finetune.turns=false`"),
        ("sfr_plus", ("patch=(16,40,40)",), "multiples of 16", "use `patch="),
        ("cfr", ("pseudo=online", "pseudo_weight=0"), "pseudo_weight=0", "leave pseudo_weight out"),
        (
            "cfr",
            ("pseudo=online", "patch=(32,64,64)"),
            "patches of",
            "use `finetune.patch=(32,64,64)`",
        ),
        ("cfr", ("turns=false",), "left and right", "use `finetune.turns=false`"),
        ("cfr", ("finetune_share=1.0",), "no time", "use a number between 0 and 1"),
        ("cfr", ("unlabelled=0", "term='none'"), "unlabelled=0", "use `unlabelled=2`"),
    ],
)
def test_what_a_later_stage_would_refuse_or_ignore_is_refused_first(
    prepared, tmp_path, method, settings, what, fix
) -> None:
    with pytest.raises(BadConfig, match=what) as refused:
        train(
            TrainRequest(
                prepared.folder,
                tmp_path / "run",
                method=method,
                volumes=1,
                steps=1,
                settings=settings,
            )
        )
    assert refused.value.fix.startswith(fix) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("sure", "expected"), [(0.0, 1), (0.1, 1), (1.1, 0)])
def test_sfr_plus_lets_sure_scans_teach_sam_and_sam_label_the_others(
    prepared, tmp_path, monkeypatch, sure, expected
) -> None:
    """Both networks go on from where they were."""
    started: list[str] = []
    note = watched(load_into, lambda _, path, *rest: started.append(path.parent.name))
    monkeypatch.setattr(training_run, "load_into", note)
    seen: list[str] = []
    asked = request(prepared, tmp_path / "run", f"sure={sure}", method="sfr_plus")
    run = RunFolder.open(train(asked, lambda progress: seen.append(progress.note)))
    said = [note for note in seen if "sure enough" in note]
    assert [note.split(" (")[0] for note in said] == [
        f"retrain: {3 * expected} of 3 scans are sure enough to teach"
    ] * bool(sure)
    with (run.path / "sure" / "confidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and {int(row["labelled"]) for row in rows} == {expected}
    taught = {
        name
        for row in RunFolder.open(run.path / "update").read_losses(3)
        for name, value in row.items()
        if value
    }
    assert ("pseudo" in taught) == bool(expected)
    assert len(list((run.path / "unsure").glob("*.nii.gz"))) == (0 if expected else 6)
    assert started == ["finetune", "retrain"]
    first, again = (
        RunFolder.open(run.path / stage).read_record().config for stage in ("finetune", "update")
    )
    assert [first[rate] / again[rate] for rate in ("lr", "head_lr")] == pytest.approx([10, 10])


def test_a_fresh_second_round_learns_from_all_scans_with_the_term_of_the_first(
    prepared, tmp_path, monkeypatch
) -> None:
    """Only SAM goes on from where it was; with `bcp` the V-Net learns from pasted patches in both
    rounds. Sure scans are counted over voxels of structures, and the table says so.
    """
    started: list[str] = []
    note = watched(load_into, lambda _, path, *rest: started.append(path.parent.name))
    monkeypatch.setattr(training_run, "load_into", note)
    settings = ("term=bcp", "sure=0.01", "sure_over=structures", "fresh=true")
    asked = request(prepared, tmp_path / "run", *settings, method="sfr_plus")
    run = RunFolder.open(train(asked))
    assert started == ["finetune"]
    for folder in (RunFolder.open(run.path / "retrain"), run):
        names = {name for row in folder.read_losses(3) for name, value in row.items() if value}
        assert {"inward", "outward", "sam"} <= names
    with (run.path / "sure" / "confidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["over"] for row in rows} == {"structures"} and len(rows) == 3
    guessed = [read_labels(path).voxels.any() for path in _masks(run.path / "sure")]
    assert all(guessed) and len(guessed) == sum(int(row["labelled"]) for row in rows)
    assert len(_masks(run.path / "unsure")) == 3


def _masks(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.nii.gz") if ".confidence." not in path.name]


def test_a_weight_for_labels_that_no_training_leaves_is_refused(prepared, tmp_path) -> None:
    tuning = [
        setting.removeprefix("finetune.") for setting in SMALL if setting.startswith("finetune.")
    ]
    for method, settings in (
        ("canvas_sam", (*tuning, "pseudo_weight=1")),
        ("cfr", (*SMALL, "finetune.pseudo_weight=1")),
    ):
        with pytest.raises(BadConfig, match="is the first here"):
            train(request(prepared, tmp_path / method, method=method, settings=settings))


def test_labels_below_the_trust_are_left_out(prepared, tmp_path) -> None:
    run = RunFolder.open(train(request(prepared, tmp_path / "run", "trust=1.0", "term='none'")))
    assert all(float(row["sam"]) < 1e-3 for row in run.read_losses(3)), (
        "an untrained SAM is sure of no voxel"
    )

"""A network handed on as ONNX or as a MONAI bundle draws the masks that it draws here."""

import json
import zipfile
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewmask.blocks.nets.pyramid_unet import PyramidUNet
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.task import Task
from fewmask.io.image import read_volume
from fewmask.io.run import RunFolder
from fewmask.methods._pyramid import Pyramid, PyramidSettings
from fewmask.methods._volumetric import VolumetricNet
from fewmask.methods.ada_sam import AdaSam
from fewmask.methods.canvas_sam import CanvasSam
from fewmask.methods.multimix import MultiMix
from fewmask.methods.sam_mix import SamMix
from fewmask.methods.trans_unet import TransUNet
from fewmask.methods.unet import UNet2d
from fewmask.predict import Predictor, export, onnx
from fewmask.predict.bundle import export_bundle
from fewmask.predict.export import Exported, export_onnx, open_portable
from fewmask.predict.portable import EXPLAINED
from fewmask.training import TrainRequest, train
from tests.predict.test_predictor import RECIPE, Bright
from tests.scans import prepare_scans

SMALL = {"unet": ("channels=(4,8)",), "vnet": ("patch=(16,16,16)", "filters=2", "norm=batch")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A 2D and a 3D run whose masks are neither empty nor full, without clean-up."""
    folder = tmp_path_factory.mktemp("export")
    prepared = prepare_scans(folder)
    for method, settings in SMALL.items():
        request = TrainRequest(
            prepared.folder, folder / method, method=method, volumes=2, steps=30, amp="off",
            device="cpu", settings=settings,
        )  # fmt: skip
        RunFolder(train(request)).write_cleanup({"structures": {"liver": {"keep": "all"}}})
    return folder


@pytest.fixture(scope="module")
def exported(folder) -> dict[str, Exported]:
    """Both networks, written once: torch's exporter takes seconds."""
    return {method: export_onnx(folder / method, folder / f"{method}.onnx") for method in SMALL}


def masks(run, scans) -> list[np.ndarray]:
    """Of the first three scans, (d, h, w), as the network draws them."""
    predictor = Predictor.load(run, "cpu")
    files = sorted((scans / "images").iterdir())[:3]
    return [predictor.volume(read_volume(file)).label_map.voxels for file in files]


@pytest.mark.parametrize("method", SMALL)
def test_three_scans_have_the_same_masks_in_onnx_runtime(folder, exported, method) -> None:
    done = exported[method]
    assert done.found.scans == ("case_03", "case_04", "case_00")  # test scans first
    assert (done.found.voxels, done.found.differ) == (3 * 32 * 32 * 8, 0)
    about = json.loads(done.recipe.read_text())
    told = {"format", "made_by", "method", "explained"}
    assert set(about["explained"]) == set(EXPLAINED) == set(about) - told
    data = done.network.read_bytes()
    for private in (str(folder), onnx.__file__, "site-packages", "case_0"):
        assert private.encode() not in data and private not in done.recipe.read_text()


def test_the_file_beside_it_is_all_that_another_program_needs(folder, exported) -> None:
    """Scans of 32 x 32 pixels of 3 mm, a grid of 64 of the same: 16 zeros on every side."""
    import onnxruntime

    done = exported["unet"]
    about = json.loads(done.recipe.read_text())
    grey, size = about["grey_levels"], about["pixels"]["size"]
    assert (about["pixels"]["spacing_mm"], size, grey["unit"]) == (3.0, 64, "HU")
    assert about["presence"]["rule"] == "none" and about["axes"]["order"] == ["d", "h", "w"]
    session = onnxruntime.InferenceSession(str(done.network))
    ours = masks(folder / "unet", folder / "scans")
    for file, mask in zip(sorted((folder / "scans" / "images").iterdir()), ours, strict=False):
        volume = read_volume(file).intensities()
        levels = ((volume - grey["low"]) / (grey["high"] - grey["low"])).clip(0, 1)
        placed = np.pad(levels, ((0, 0), (16, 16), (16, 16))).astype(np.float32)
        (probabilities,) = session.run(["probabilities"], {"image": placed[:, None]})
        assert np.array_equal(probabilities.argmax(1)[:, 16:-16, 16:-16], mask)
        assert 0 < (mask == about["classes"]["liver"]).mean() < 1


def test_w08_masks_that_differ_refuse_the_export(folder, tmp_path, monkeypatch) -> None:
    def other(data: bytes, like: Predictor, presence: str) -> Predictor:
        network = Predictor.load(folder / "unet", "cpu")
        with torch.no_grad():
            for weight in network.method.parameters():
                weight.zero_()  # both classes equally probable: all background
        return network

    monkeypatch.setattr(export, "open_onnx", other)
    monkeypatch.setattr(export, "network_bytes", lambda *_: b"network")
    with pytest.raises(BadCheckpoint, match="of 24576 voxels differ") as error:
        export_onnx(folder / "unet", tmp_path / "net.onnx", folder / "scans" / "images")
    predicted = Predictor.load(folder / "unet", "cpu")
    given = folder / "scans" / "images"
    scans = export.scans_to_check(RunFolder(folder / "unet"), predicted, given)
    count = sum(int((predicted.volume(scan).label_map.voxels > 0).sum()) for _, scan in scans)
    assert error.value.code == "W08" and f"`allow={count}`" in error.value.fix and count > 100
    assert not list(tmp_path.iterdir())
    done = export_onnx(folder / "unet", tmp_path / "net.onnx", given, allow=count)
    assert done.found.differ == count and done.found.scans == ("case_00", "case_01", "case_02")


def test_presence_is_left_to_the_program_slice_by_slice_or_as_told() -> None:
    """Of two slices the second is judged not to hold the structure: 0.6 of every pixel becomes the
    background's."""
    drawn = np.full((2, 2, 1, 1), 0.4, np.float32)
    drawn[:, 1] = 0.6
    present = np.array([[0.5], [0.4]], np.float32)
    session: Any = SimpleNamespace(run=lambda names, given: [drawn, present])
    like = Predictor(Bright(), RECIPE, Task(("organ",), 16), torch.device("cpu"), False)
    method = onnx.OnnxMethod(session, like, "slice")
    image = torch.zeros(2, 1, 1, 1)
    assert method.predict(image).probs[:, 1].flatten().tolist() == pytest.approx([0.6, 0])
    assert method.predict(image).probs[:, 0].flatten().tolist() == pytest.approx([0.4, 1])
    held = torch.tensor([[False], [True]])
    told = method.predict_present(image, held).probs[:, 1].flatten().tolist()
    assert told == pytest.approx([0, 0.6])


def test_methods_of_more_than_one_pass_are_refused() -> None:
    assert all(kind.one_network for kind in (UNet2d, Pyramid, TransUNet, VolumetricNet))
    for kind in (SamMix, AdaSam, MultiMix, CanvasSam):
        assert not kind.one_network, "prompts, gradients, or a SAM"
    for views in (1, 2):
        network = PyramidUNet(outputs=2, structures=1)
        config = PyramidSettings(weights="none", views=views)
        assert Pyramid(network, config).one_network == (views == 1)
    with pytest.raises(BadConfig, match="bright predicts with more than one pass") as error:
        onnx.check_one_network(Bright(), "bright")
    assert "unet" in error.value.fix


def test_f11_an_export_replaces_an_export_and_nothing_else(folder, tmp_path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    (tmp_path / "net.json").write_text('{"mine": 1}')
    data = folder / "prepared" / "net.onnx"
    for out in (tmp_path / "net.onnx", folder / "vnet" / "net.onnx", data):
        with pytest.raises(BadConfig) as error:
            export_onnx(folder / "vnet", out)
        assert error.value.code == "F11"
    assert (tmp_path / "net.onnx").read_text() == "mine"


@pytest.mark.parametrize("method", SMALL)
def test_monai_runs_the_bundle_to_the_same_masks(folder, tmp_path, method) -> None:
    from monai.bundle import ConfigWorkflow
    from monai.bundle.properties import InferProperties, MetaProperties

    done = export_bundle(folder / method, tmp_path / "bundle")
    with zipfile.ZipFile(done.folder / "models" / "model.ts") as script:
        for part in script.namelist():  # no file of the machine that traced it
            assert b"site-packages" not in script.read(part), part
    config, meta = (done.folder / "configs" / name for name in ("inference.json", "metadata.json"))
    flow = ConfigWorkflow(
        str(config), str(meta), workflow_type="infer", logging_file=False,
        bundle_root=str(done.folder), dataset_dir=str(folder / "scans" / "images"),
    )  # fmt: skip
    flow.initialize()
    for asked, file in ((InferProperties, config), (MetaProperties, meta)):
        keys = {name for name, about in asked.items() if about["required"]}
        assert keys <= set(json.loads(file.read_text())), "what MONAI asks for is there"
    was = torch.is_grad_enabled()
    flow.run()
    torch.set_grad_enabled(was)
    import nibabel as nib

    for case, mask in enumerate(masks(folder / method, folder / "scans")):
        file = nib.load(done.folder / "masks" / f"case_0{case}_mask.nii.gz")
        drawn = np.asarray(file.dataobj)  # (i, j, k); i to the left and j to the back in `scans`
        assert np.array_equal(drawn.transpose(2, 1, 0), mask) and mask.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("lite_unet", ("weights=none",)),
        ("lite_unet", ("weights=none", "presence=none")),
        ("unet", ("channels=(4,8)", "presence=scan", "classifier_width=4")),
        ("trans_unet", ("channels=(4,8)", "width=12", "heads=2", "layers=1")),
    ],
)
def test_larger_networks_too(folder, tmp_path, method, settings) -> None:
    request = TrainRequest(
        folder / "prepared", tmp_path / "run", method=method, volumes=2, steps=20, amp="off",
        device="cpu", settings=settings,
    )  # fmt: skip
    assert export_onnx(train(request), tmp_path / "net.onnx").found.differ == 0
    folder, predictor = open_portable(tmp_path / "run")
    assert not predictor.bf16 and folder.weights.exists()

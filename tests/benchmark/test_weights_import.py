"""Importing SAM weights: exact, or refused with the first five differences; and a run that starts
from them.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

import fewmask.blocks.sam.config as sizes
from fewmask.benchmark.weights_import import describe_weights, import_weights
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.io.ledger import list_weights, locate
from fewmask.io.weights import load_tensors
from fewmask.training import TrainRequest, train
from fewmask.training.pretrained import find_weights
from tests.blocks.reference import random_weights
from tests.blocks.test_official import SMALL
from tests.scans import prepare_scans


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty cache, and a two-layer size that counts as official."""
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sizes.SIZES, SMALL.name, SMALL)
    return tmp_path


def test_an_official_file_is_converted_to_the_bit(shelf) -> None:
    weights = random_weights(SMALL)
    torch.save(weights, shelf / "mine.pth")
    done = import_weights(shelf / "mine.pth")
    assert (done.name, done.encoder) == ("mine", "two") and done.path == locate("mine")
    kept = load_tensors(done.path)
    assert torch.equal(
        kept["image_encoder.layers.0.attn.qkv.weight"],
        weights["image_encoder.blocks.0.attn.qkv.weight"],
    )
    assert (
        sum(t.numel() for t in kept.values())
        == sum(t.numel() for t in weights.values())
        == done.numbers
    )
    assert next(row for row in list_weights() if row["name"] == "mine")["here"]
    assert describe_weights(done.path)["encoder"] == "two"


def test_weights_that_come_with_packages_are_known_by_name() -> None:
    ours, encoder = (describe_weights(locate(name)) for name in ("compact", "imagenet-lite0"))
    assert ours["known as"] == ours["encoder"] == "compact"
    assert (encoder["known as"], encoder["encoder"]) == ("imagenet-lite0", "lite0")
    assert (ours["kind"], encoder["kind"][:15]) == ("SAM weights", "encoder weights")


def test_a_transformers_folder_is_read_too(shelf) -> None:
    from transformers import SamModel

    from fewmask.blocks.sam.build import _config

    folder = shelf / "folder"
    SamModel(_config(SMALL)).save_pretrained(folder)
    assert import_weights(folder, "hub").encoder == "two"
    (folder / "config.json").write_text(json.dumps({"model_type": "sam2"}))
    with pytest.raises(BadCheckpoint, match="'sam2'"):
        import_weights(folder)


def test_five_differences_are_named(shelf) -> None:
    weights = random_weights(SMALL)
    for name in sorted(weights)[:3]:
        del weights[name]
    weights["mask_decoder.hf_token.weight"] = torch.zeros(1)
    weights["mask_decoder.iou_token.weight"] = torch.zeros(2, 32)
    weights["mask_decoder.mask_tokens.weight"][0, 0] = float("nan")
    torch.save(weights, shelf / "bad.pth")
    with pytest.raises(BadCheckpoint) as caught:
        import_weights(shelf / "bad.pth")
    text = str(caught.value)
    assert (
        "6 differences" in text
        and "unknown mask_decoder.hf_token.weight" in text
        and "(2, 32), (1, 32) is needed" in text
    )
    assert (
        len(caught.value.where) == 6
        and not (shelf / "cache" / "weights" / "bad.safetensors").exists()
    )


def test_a_name_must_be_a_name(shelf) -> None:
    save_file(random_weights(SMALL), shelf / "a.safetensors")
    with pytest.raises(BadConfig, match="no name"):
        import_weights(shelf / "a.safetensors", "../evil")


@pytest.mark.parametrize("tune", ["all", "lora", "decoder"])
def test_a_run_starts_from_named_weights(shelf, tune) -> None:
    """With a learning rate of zero the run ends with exactly the weights it started from."""
    torch.save(random_weights(SMALL, seed=7), shelf / "mine.pth")
    done = import_weights(shelf / "mine.pth")
    prepared = prepare_scans(shelf / "data")
    settings = (f"tune={tune}", "weights=mine", "lr=1e-30", "classifier_width=8", "weight_decay=0")
    run = train(
        TrainRequest(
            prepared.folder,
            shelf / "run",
            "sam_mix",
            slices=2,
            steps=1,
            encoder="two",
            amp="off",
            device="cpu",
            settings=settings,
        )
    )
    start, end = load_tensors(done.path), load_tensors(run / "weights.safetensors")
    name = "image_encoder.layers.1.attn.qkv.weight"
    inside = name.replace(".qkv.", ".qkv.qkv.") if tune == "lora" else name
    assert torch.equal(end["sam." + inside], start[name])
    assert json.loads((run / "config.json").read_text())["pretrained"]["name"] == "mine"


def test_weights_that_are_asked_for_and_not_here_stop_the_run(shelf) -> None:
    assert find_weights({"encoder": "tiny", "weights": "auto"}) is None
    assert find_weights({"encoder": "vit-b", "weights": "none"}) is None
    assert find_weights({"channels": (8, 8)}) is None
    with pytest.raises(BadCheckpoint, match="sam-vit-b"):
        find_weights({"encoder": "vit-b", "weights": "auto"})

"""A frozen encoder's embeddings: computed once, the same numbers with and without the folder,
refused where they would lie.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewmask.blocks.sam import Sam
from fewmask.core.batch import Task
from fewmask.core.errors import BadConfig, NoRoom
from fewmask.io.embeddings import EmbeddingStore, check_size, weights_key
from fewmask.io.weights import load_tensors
from fewmask.methods import build
from fewmask.training import TrainRequest, train
from fewmask.training.pretrained import recall_embeddings, remember
from fewmask.training.stages import plan_stages
from tests.narrow import part
from tests.scans import prepare_scans

FROZEN = ("tune=decoder", "augment=false", "classifier_width=8")


class Counter:
    """An encoder that counts its calls."""

    calls = 0

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return image.mean((2, 3), keepdim=True).expand(-1, 4, 2, 2)


def test_each_image_is_computed_once(tmp_path) -> None:
    images, counter = torch.rand(3, 1, 8, 8), Counter()
    for folder in (None, tmp_path):
        store = EmbeddingStore("k" * 40, folder, 10**6)
        counter.calls = 0
        first = remember(store)(images, counter)
        again = remember(store)(images.flip(0), counter).flip(0)
        assert torch.equal(first, again) and counter.calls == 3
        assert torch.equal(
            first, images.mean((2, 3), keepdim=True).expand(-1, 4, 2, 2).half().float()
        )
    assert (
        remember(EmbeddingStore("k" * 40, tmp_path, 10**6))(images, counter).shape == (3, 4, 2, 2)
        and counter.calls == 3
    )
    remember(EmbeddingStore("other" * 8, tmp_path, 10**6))(images, counter)
    assert counter.calls == 6, "embeddings of other weights were found"


def test_beyond_the_limit_it_computes_again_to_the_same_numbers(tmp_path) -> None:
    images, counter = torch.rand(3, 1, 8, 8), Counter()
    recall = remember(
        EmbeddingStore("k" * 40, tmp_path, 40)
    )  # room for one embedding of 4 * 2 * 2 * 2 = 32 bytes
    assert torch.equal(recall(images, counter), recall(images, counter)) and counter.calls == 5


def test_the_key_follows_weights_and_settings() -> None:
    arrays = {"a": np.ones(2), "b": np.zeros(3)}
    key = weights_key(arrays, 224)
    assert key == weights_key(dict(reversed(arrays.items())), 224)
    assert key != weights_key(arrays, 448) and key != weights_key(
        {**arrays, "b": np.array([0.0, 0, 1e-6])}, 224
    )


def test_the_size_is_told_before_and_capped() -> None:
    assert check_size(1024, 2**20, 2**30) == "1024 embeddings of 1.0 MiB: 1.00 GiB"
    with pytest.raises(NoRoom, match=r"need 1\.00 GiB, the limit is 0\.50"):
        check_size(1024, 2**20, 2**29)


def test_a_run_is_the_same_with_and_without_the_folder(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    base = TrainRequest(
        prepared.folder,
        tmp_path / "a",
        "sam_mix",
        slices=4,
        steps=3,
        encoder="tiny",
        amp="off",
        device="cpu",
        settings=FROZEN,
    )
    runs = [train(base)]
    for name in ("b", "c"):  # the second one finds everything there
        runs.append(
            train(
                TrainRequest(
                    **{**vars(base), "out": tmp_path / name, "embeddings": tmp_path / "kept"}
                )
            )
        )
    assert len(list((tmp_path / "kept").rglob("*.npy"))) == 4
    first, *others = (load_tensors(run / "weights.safetensors") for run in runs)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize(
    "settings", [("tune=decoder",), ("augment=false",), ("tune=lora", "augment=false")]
)
def test_a_store_that_would_lie_is_refused(tmp_path, settings) -> None:
    prepared = prepare_scans(tmp_path)
    with pytest.raises(BadConfig, match="frozen encoder"):
        train(
            TrainRequest(
                prepared.folder, tmp_path / "run", "sam_mix", slices=2, steps=1, encoder="tiny",
                amp="off", device="cpu",
                settings=(*settings, "classifier_width=8"), embeddings=tmp_path / "kept",
            )
        )  # fmt: skip


def test_random_patches_are_not_kept(tmp_path) -> None:
    """Frozen and unaugmented, but no patch comes twice."""
    prepared = prepare_scans(tmp_path)
    settings = ("patch=(16,32,32)", "canvas=128", "tune=decoder", "augment=false")
    base = TrainRequest(
        prepared.folder, tmp_path / "run", method="canvas_sam", volumes=1, steps=1,
        encoder="tiny", amp="off", device="cpu",
        settings=settings,
    )  # fmt: skip
    with pytest.raises(BadConfig, match="whole slices") as refused:
        train(replace(base, embeddings=tmp_path / "kept"))
    assert refused.value.fix == "leave `embeddings` out" and not (tmp_path / "kept").exists()
    method = build("canvas_sam", plan_stages(base)[0].config, Task(("liver",), 32))
    assert recall_embeddings(method, base, 8, "float32") == ""
    assert part(method, "sam", Sam).recall is None

"""Weights from elsewhere run no code, damaged ones are refused, and a full disk is seen as one."""

import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewmask.core.errors import BadCheckpoint, FewmaskError
from fewmask.io.weights import (
    flatten_optimiser,
    load_foreign,
    load_into,
    load_tensors,
    read_metadata,
    restore_optimiser,
    save_tensors,
)


def layer(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def test_round_trip_keeps_bits_types_and_shapes(tmp_path) -> None:
    tensors = {
        "a": torch.randn(2, 3).T,
        "b": torch.tensor([1, 2]),
        "c": torch.randn(4).bfloat16(),
        "d": torch.tensor(7.0),
    }
    save_tensors(tmp_path / "x.safetensors", tensors)
    back = load_tensors(tmp_path / "x.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[n], t) and back[n].dtype == t.dtype for n, t in tensors.items())


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_the_same_weights_and_notes_have_the_same_hash(tmp_path) -> None:
    """Of eight notes the library would write two files in one order once in 40,320 times."""
    notes = {f"note é {index}": f'"{index}"' for index in range(8)}
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    found = {save_tensors(tmp_path / f"{n}.safetensors", tensors, notes) for n in range(3)}
    assert len(found) == 1
    assert read_metadata(tmp_path / "0.safetensors") == notes
    assert load_tensors(tmp_path / "0.safetensors")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"a": torch.ones(2), "b": bad}])
def test_w01_a_pickle_runs_nothing(tmp_path, wrap) -> None:
    torch.save(wrap(Canary(tmp_path / "canary")), tmp_path / "x.pth")
    with pytest.raises(BadCheckpoint, match="could run code") as caught:
        load_foreign(tmp_path / "x.pth")
    assert caught.value.code == "W01" and not (tmp_path / "canary").exists()


def test_w01_a_bare_pickle_runs_nothing(tmp_path) -> None:
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(BadCheckpoint):
        load_foreign(tmp_path / "x.pth")
    assert not (tmp_path / "canary").exists()


def test_w02_a_class_of_its_own_or_no_tensors_is_refused(tmp_path) -> None:
    for index, content in enumerate((layer(), [1, 2], {}, {"a": "text"})):
        torch.save(content, tmp_path / f"{index}.pth")
        with pytest.raises(BadCheckpoint):
            load_foreign(tmp_path / f"{index}.pth")


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_plain_tensors_are_read_wherever_they_usually_stand(tmp_path, key) -> None:
    state = layer().state_dict()
    torch.save({key: state} if key else state, tmp_path / "x.pth")
    assert torch.equal(load_foreign(tmp_path / "x.pth")["weight"], state["weight"])


def test_w03_bomb_truncation_and_wrong_kind(tmp_path) -> None:
    torch.save({"a": torch.zeros(300_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for item in plain.infolist():
            bomb.writestr(item.filename, plain.read(item))
    (tmp_path / "short.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:-400])
    (tmp_path / "text.pth").write_text("<html>proxy</html>")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    for name, word in (
        ("bomb", "unfolds to"),
        ("short", "archive"),
        ("text", "archive"),
        ("script", "TorchScript"),
    ):
        with pytest.raises(BadCheckpoint, match=word) as caught:
            load_foreign(tmp_path / f"{name}.pth")
        assert caught.value.code == "W03"


def test_flipped_bytes_never_give_another_error(tmp_path) -> None:
    """Each of 120 files with some bytes changed is either read or refused as `BadCheckpoint`; most
    are refused.
    """
    torch.save(layer().state_dict(), tmp_path / "x.pth")
    save_tensors(tmp_path / "x.safetensors", layer().state_dict())
    refused = 0
    for name, read in (("x.pth", load_foreign), ("x.safetensors", load_tensors)):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for seed in range(60):
            rng, broken = np.random.default_rng(seed), whole.copy()
            broken[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
            (tmp_path / "broken").write_bytes(
                broken[: rng.integers(1, len(whole))].tobytes()
                if seed % 4 == 0
                else broken.tobytes()
            )
            try:
                read(tmp_path / "broken")
            except BadCheckpoint:
                refused += 1
    assert refused > 60


def test_w04_a_header_beyond_reason(tmp_path) -> None:
    (tmp_path / "x").write_bytes((100 * 2**20).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadCheckpoint, match="header declares 104857600 bytes"):
        load_tensors(tmp_path / "x")


def test_w04_overlapping_tensors(tmp_path) -> None:
    entry = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = b'{"a":' + entry + b',"b":' + entry + b"}"
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(BadCheckpoint, match="damaged"):
        load_tensors(tmp_path / "x")


def test_w04_the_first_five_differences_are_named_and_nothing_is_loaded(tmp_path) -> None:
    module = layer()
    before = module.weight.detach().clone()
    wrong = {
        "weight": torch.full((2, 3), torch.nan),
        **{f"extra{i}": torch.ones(1) for i in range(6)},
    }
    save_tensors(tmp_path / "x", wrong)
    with pytest.raises(BadCheckpoint, match="8 differences") as caught:
        load_into(module, tmp_path / "x")
    assert len(caught.value.where) == 6 and "missing bias" in caught.value.where
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("weight", "word"),
    [
        (torch.ones(3, 2), "is (3, 2), (2, 3)"),
        (torch.full((2, 3), torch.inf), "NaN or Inf"),
        (torch.ones(2, 3).long(), "int64"),
    ],
)
def test_w04_one_wrong_tensor(tmp_path, weight, word) -> None:
    save_tensors(tmp_path / "x", {"weight": weight, "bias": torch.zeros(2)})
    with pytest.raises(BadCheckpoint) as caught:
        load_into(layer(), tmp_path / "x")
    assert word in caught.value.where[1]


def test_an_optimiser_restored_takes_the_same_next_step() -> None:
    def step(module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        module(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()

    one, two = layer(), layer(1)
    first, second, fresh = (torch.optim.AdamW(m.parameters(), 0.1) for m in (one, two, layer()))
    step(one, first)
    two.load_state_dict(one.state_dict())
    restore_optimiser(second, flatten_optimiser(first))
    assert not flatten_optimiser(fresh)
    for module, optimiser in ((one, first), (two, second)):
        optimiser.zero_grad()
        step(module, optimiser)
    assert torch.equal(one.weight, two.weight)


def test_f09_no_room_for_the_file_leaves_the_old_one(tmp_path) -> None:
    """A real limit on file size, in a child: the error is ours, the old file stays, no temp file is
    left.
    """
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(3)})
    before = path.read_bytes()
    code = f"""
import resource, torch
from pathlib import Path
from fewmask.core.errors import NoRoom
from fewmask.io.weights import save_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))
try:
    save_tensors(Path({str(path)!r}), {{"a": torch.ones(100_000)}})
except NoRoom as error:
    print(error.exit_code, "400000 bytes needed" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4", "True"], done.stderr
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == [path.name]


def test_w07_a_file_that_is_not_there(tmp_path) -> None:
    for read in (load_tensors, load_foreign):
        with pytest.raises(FewmaskError, match="no such file"):
            read(tmp_path / "absent")

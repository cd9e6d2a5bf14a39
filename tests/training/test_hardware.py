"""What is said of the machine and of the code that ran on it."""

import time
from contextlib import nullcontext

import torch
from torch import nn

from fewmask.blocks.device import half_type
from fewmask.blocks.nets.vnet import VNet
from fewmask.training.hardware import choose_half, compile_networks, digest_code, halves


def test_the_digest_of_code_follows_python_files_and_their_names_only(tmp_path) -> None:
    def write(name: str, **files: str) -> str:
        (tmp_path / name / "part").mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / name / "part" / file.replace("_", ".")).write_text(text)
        return digest_code(tmp_path / name)

    one = write("one", a_py="x = 1\n", b_py="y = 2\n")
    assert len(one) == 12
    assert one == write("same", a_py="x = 1\n", b_py="y = 2\n", notes_txt="not code")
    others = [
        write("edited", a_py="x = 1\n", b_py="y = 3\n"),
        write("renamed", a_py="x = 1\n", c_py="y = 2\n"),
        write("joined", a_py="x = 1\ny = 2\n", b_py=""),
    ]
    assert len({one, *others}) == 4


def test_compiled_networks_keep_the_names_of_their_weights() -> None:
    """They are not run here: shapes are checked under pytest, and what checks them cannot be
    compiled.
    """
    method = nn.ModuleDict({"student": VNet(2, 2, 0.0, "instance"), "other": nn.Linear(1, 1)})
    names = list(method.state_dict())
    compile_networks(method, "eager")
    assert list(method.state_dict()) == names
    assert method["student"]._compiled_call_impl is not None
    assert method["other"]._compiled_call_impl is None


def test_a_gpu_without_bfloat16_of_its_own_is_timed_in_float16(monkeypatch) -> None:
    def slow_in_float32(half: bool) -> None:
        if not half:
            time.sleep(0.01)

    native = False
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or native,
    )
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert (half_type(gpu), half_type(cpu)) == (torch.float16, torch.bfloat16)
    assert halves(gpu, True) == (False, True) and halves(gpu, False) == (False, False)
    native = True
    assert half_type(gpu) == torch.bfloat16 and halves(gpu, True) == (True, False)
    assert choose_half("auto", gpu, slow_in_float32)
    assert not choose_half("auto", gpu, lambda half: slow_in_float32(not half))

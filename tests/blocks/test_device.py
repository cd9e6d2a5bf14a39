"""Which device is meant, and what is said where it is not there."""

import pytest
import torch

from fewmask.blocks.device import choose_device
from fewmask.core.errors import BadConfig


def machine(monkeypatch, gpus: int, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("gpus", "chosen"), [(0, "cpu"), (2, "cuda")])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, gpus, chosen) -> None:
    machine(monkeypatch, gpus, mps=True)
    assert choose_device(None).type == chosen


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:1", "mps"])
def test_what_is_there_is_given(monkeypatch, wanted) -> None:
    machine(monkeypatch, 2, mps=True)
    assert str(choose_device(wanted)) == wanted


@pytest.mark.parametrize("wanted", ["cuda", "cuda:2", "mps"])
def test_what_is_not_there_is_f08_and_a_wrong_request(monkeypatch, wanted) -> None:
    machine(monkeypatch, 2 if wanted == "cuda:2" else 0)
    with pytest.raises(BadConfig, match=f"no device '{wanted}'") as caught:
        choose_device(wanted)
    assert (caught.value.code, caught.value.exit_code) == ("F08", 2)
    assert caught.value.fix == "use cpu, or leave the device out"


@pytest.mark.parametrize(
    ("wanted", "fix"),
    [
        ("gpu", "did you mean 'cuda'?"),
        ("GPU:0", "did you mean 'cuda'?"),
        ("coda", "did you mean 'cuda'?"),
        ("cuda:first", "did you mean 'cuda'?"),
        ("toaster", "use cpu, cuda, cuda:1 or mps"),
    ],
)
def test_a_name_that_is_none_gets_the_nearest(wanted, fix) -> None:
    with pytest.raises(BadConfig, match="is not known") as caught:
        choose_device(wanted)
    assert (caught.value.code, caught.value.fix) == ("C02", fix)

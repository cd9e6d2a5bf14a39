"""What is said where memory does not suffice, without a GPU."""

import pytest
import torch

from fewmask.blocks.memory import memory_in_words
from fewmask.core.errors import NoRoom

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_full_memory_is_told_in_words() -> None:
    with (
        pytest.raises(NoRoom, match="the GPU's memory is full") as caught,
        memory_in_words(GPU, "nothing was written", "use the CPU"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
    error = caught.value
    assert error.code == "F07" and error.exit_code == 4
    assert list(error.where) == ["CUDA out of memory."]
    assert (error.did, error.fix) == ("nothing was written", "use the CPU")


def test_another_error_of_torch_is_not_taken_for_full_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_in_words(CPU, "", ""):
        raise RuntimeError("shapes do not match")

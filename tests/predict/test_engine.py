"""The other engine gives the same masks; where it is not installed, it says how to get it."""

import builtins
import subprocess
import sys
from typing import Any

import pytest

from fewmask.blocks.sam import SIZES, build_sam
from fewmask.blocks.sam.engine import use_openvino
from fewmask.core.errors import BadConfig

SCRIPT = """
import torch
from fewmask.blocks.sam import SIZES, build_sam
from fewmask.blocks.sam.engine import use_openvino

torch.manual_seed(0)
sam = build_sam(SIZES["tiny"]).eval()
images = torch.rand(3, 1, 64, 64)
with torch.no_grad():
    wanted = sam.encode(images)
    use_openvino(sam, bf16=False)
    for count in (3, 1):
        found = sam.encode(images[:count])
        torch.testing.assert_close(found, wanted[:count], atol=1e-4, rtol=1e-5)
"""


def test_the_same_numbers_for_any_batch() -> None:
    """In a process of its own: shape checks, on in this one, cannot be traced."""
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_without_the_package_the_way_to_it_is_told(monkeypatch) -> None:
    real, sam = builtins.__import__, build_sam(SIZES["tiny"])

    def without(name: str, *rest: Any, **named: Any) -> object:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadConfig) as caught:
        use_openvino(sam, bf16=False)
    assert "fewmask[openvino]" in caught.value.fix

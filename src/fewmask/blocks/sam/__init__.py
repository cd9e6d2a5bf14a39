"""The Segment Anything Model behind one small door: build, encode, decode."""

from fewmask.blocks.sam.build import build_sam
from fewmask.blocks.sam.model import Sam
from fewmask.blocks.sam.size import SIZES, SamSize, size_named

__all__ = ["SIZES", "Sam", "SamSize", "build_sam", "size_named"]

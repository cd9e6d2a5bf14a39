"""The Segment Anything Model behind one small door: build, encode, decode."""

from fewmask.blocks.sam.build import build_sam
from fewmask.blocks.sam.config import SIZES, SamSize, size_named
from fewmask.blocks.sam.model import Sam

__all__ = ["SIZES", "Sam", "SamSize", "build_sam", "size_named"]

"""What a method is fed and what it answers. Unlabelled and weak batches have no field for a
mask that a person drew, only for what an earlier stage made (`pseudo`): a withheld mask cannot
reach them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fewmask.core.randomness import rng, seed_of
from fewmask.core.task import Task as Task

UNKNOWN = -1
"""In `present`: nobody said whether the class is in the slice."""
IGNORE = 255
"""In masks of patches: nobody reviewed this voxel, or it lies beyond the scan."""


Other = tuple[str, tuple[int, int, int]]
"""(case, first voxel (d, h, w) of an image in the placed scan)."""


@dataclass(frozen=True)
class Look:
    """How the grey levels of an image are made those of another scanner; its mask stays."""

    convolution: float = 0.0
    """Part of the image that a random convolution replaces; 0 = none."""
    seed: int = 0
    """Of the random convolution."""
    swap: float = 0.0
    """How far lowest amplitudes of the spectrum move towards those of `other`, 0 to 1."""
    other: Other | None = None
    """Where the other image lies; of any training scan, labelled or not."""


@dataclass(frozen=True)
class Draw:
    """One random decision about one image, as a value: applied to image and mask alike, logged,
    replayed.
    """

    rotate_deg: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    """Fractions of the image size, (y, x)."""
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    """Standard deviation of the added noise, image in [0, 1]."""
    noise_seed: int = 0
    look: Look = Look()


Range = tuple[float, float]
"""Lowest and highest value of a uniform distribution."""


@dataclass(frozen=True)
class GreyLevels:
    """Ranges of contrast and noise. An image in [0, 1] becomes clip(image^gamma * gain + offset +
    noise), clipped to [0, 1] again.
    """

    gain: Range = (0.9, 1.1)
    """Factor, uniform."""
    offset: Range = (-0.05, 0.05)
    """Added, uniform; the image's whole range is 1."""
    log_gamma: Range = (-0.3, 0.3)
    """Natural logarithm of the exponent, uniform: gamma and 1 / gamma are equally likely."""
    noise: Range = (0.0, 0.03)
    """Standard deviation of Gaussian noise, uniform; one per image, independent between pixels."""


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of random augmentation; every number is drawn once per image, independently.

    Geometry is a rotation about the centre, a zoom and a shift, in plane, the same for an image,
    its mask and all slices of a patch. No flips: organs have sides. `strong` replaces `weak` in the
    strong view of an unlabelled slice, whose geometry stays.
    """

    rotate_deg: Range = (-15.0, 15.0)
    """Degrees, uniform."""
    log_zoom: Range = (-0.223, 0.223)
    """Natural logarithm of the magnification, uniform: 0.80 to 1.25, with median 1."""
    shift: Range = (-0.08, 0.08)
    """Parts of the side, uniform, along y and along x."""
    weak: GreyLevels = GreyLevels()
    strong: GreyLevels = GreyLevels((0.7, 1.3), (-0.15, 0.15), (-0.7, 0.7), (0.02, 0.10))


@dataclass(frozen=True)
class Shade:
    """Contrast and noise of images, as numbers that can go to a device."""

    levels: Float[Tensor, "b 4"]
    """Gamma, gain, offset, standard deviation of the noise."""
    noise: Float[Tensor, "b n h w"]
    """Of standard deviation 1."""


@dataclass(frozen=True)
class Networks:
    """Random convolutions of some images; a kernel of one pixel is the middle of nine."""

    which: Int[Tensor, " m"]
    """Places of these images in the stream."""
    part: Float[Tensor, " m"]
    first: Float[Tensor, "m c 1 3 3"]
    middle: Float[Tensor, "m c c 3 3"]
    last: Float[Tensor, "m 1 c 3 3"]
    biases: Float[Tensor, "m b"]
    """Of the layers one after the other."""
    has_middle: Bool[Tensor, " m"]


@dataclass(frozen=True)
class Swaps:
    """Images of a stream whose lowest frequencies come from others."""

    which: Int[Tensor, " m"]
    part: Float[Tensor, " m"]
    other: Float[Tensor, "m n h w"]


@dataclass(frozen=True)
class Pending:
    """Augmentation of a stream that is still to be done, in one call for all of its images and
    masks, on whatever device they are by then (`data/pending.py`).
    """

    outside: int
    """What masks show beyond the scan."""
    turns: Float[Tensor, "b 2 3"] | None = None
    """Where each pixel of the result looks."""
    shade: Shade | None = None
    strong: Shade | None = None
    """Of the strong view."""
    networks: Networks | None = None
    swaps: Swaps | None = None


@dataclass(frozen=True)
class Labelled:
    """Slices whose mask the budget grants."""

    image: Float[Tensor, "b 1 *space"]
    """In [0, 1]."""
    mask: Int[Tensor, " b *space"]
    """Class index, 0 = background; in slices every pixel is known, in patches `IGNORE` marks voxels
    that are not.
    """
    present: Int[Tensor, "b k"]
    """1 if the class is in the mask (computed after placing and augmenting), else 0."""
    draws: tuple[Draw, ...] = ()
    pending: Pending | None = None


@dataclass(frozen=True)
class Weak:
    """Slices of which at most the image-level tags are known."""

    image: Float[Tensor, "b 1 *space"]
    present: Int[Tensor, "b k"]
    """1 yes, 0 no, -1 nobody said."""
    draws: tuple[Draw, ...] = ()
    pseudo: Int[Tensor, "b h w"] | None = None
    """What an earlier stage of the method made of them, when the loader asks for it: class index,
    `IGNORE` where it is not sure; slices that a person outlined show the outline.
    """
    pending: Pending | None = None


@dataclass(frozen=True)
class Unlabelled:
    """Slices or patches whose masks and tags are not looked at."""

    image: Float[Tensor, "b 1 *space"]
    strong: Float[Tensor, "b 1 *space"] | None = None
    """The same slices under a stronger intensity draw (same geometry), when the feed asks for it.
    """
    draws: tuple[Draw, ...] = ()
    pseudo: Int[Tensor, " b *space"] | None = None
    """What an earlier stage of the method made of them (class index, `IGNORE` beyond the scan);
    never a person's mask.
    """
    pending: Pending | None = None


@dataclass(frozen=True)
class Batch:
    """One step's data: only the streams that the method's feed asks for."""

    labelled: Labelled | None = None
    weak: Weak | None = None
    unlabelled: Unlabelled | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Per stream the `case:d` of each item, for messages."""
    empty: Weak | None = None
    """Slices known to hold none of the structures."""

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; a GPU's copy from pinned memory is not waited for."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pin(self) -> "Batch":
        """The same in pinned memory, from which a GPU copies while the program goes on."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return _changed(self, change)


Part = TypeVar("Part")


def _changed(part: Part, change: Callable[[Tensor], Tensor]) -> Part:
    """The same with every tensor in it changed."""
    if isinstance(part, Tensor):
        return change(part)  # type: ignore[return-value]
    if not is_dataclass(part) or isinstance(part, type):
        return part
    changed: dict[str, Any] = {
        name: _changed(value, change)
        for name, value in vars(part).items()
        if isinstance(value, Tensor) or is_dataclass(value)
    }
    return replace(part, **changed)


@dataclass(frozen=True)
class BatchSpec:
    """What a method wants per step: how many items of each stream, and how they are augmented."""

    patch: tuple[int, int, int] | None = None
    """Voxels (d, h, w) of the patches a 3D method sees; None for methods that see slices."""
    turns: bool = False
    """Turn patches by quarters and mirror them, in plane."""
    centred: float = 0.0
    """Part of labelled patches whose middle lies in a structure."""
    labelled: int = 4
    weak: int = 0
    empty: int = 0
    """Slices known to hold none of the structures; a data set without any is an error."""
    presence: bool = False
    """Which slices hold a structure is learned, and decides about masks: a data set in which no
    structure has slices known to hold it and slices known not to is an error.
    """
    unlabelled: int = 0
    strong: bool = False
    """Also give the strong view of unlabelled slices."""
    pseudo: Literal["off", "some", "only"] = "off"
    """Also give the labels that an earlier stage left for unlabelled patches: to those that have
    any, or draw only those.
    """
    augment: bool = True
    ranges: AugmentConfig = AugmentConfig()
    """Of the augmentation."""
    random_convolution: float = 0.0
    """Part of images that a random convolution gives another look; `augment` or not."""
    frequency_swap: float = 0.0
    """Part of images whose lowest amplitudes come from another training scan; `augment` or not."""

    @property
    def new_looks(self) -> bool:
        """Are there images with another look?"""
        return self.random_convolution > 0 or self.frequency_swap > 0


@dataclass(frozen=True)
class Step:
    """Where training stands, and the only door to randomness inside `losses`."""

    index: int
    """0 for the first step."""
    total: int
    seed: int = 0

    @property
    def fraction(self) -> float:
        """0 at the first step, 1 after the last."""
        return self.index / max(1, self.total)

    def rng(self, stream: str) -> np.random.Generator:
        """Numbers keyed by (seed, stream, step)."""
        return rng(self.seed, stream, self.index)

    def torch_seed(self, stream: str) -> int:
        """The same for a `torch.Generator`."""
        return seed_of(self.seed, stream, self.index) % 2**63


@dataclass(frozen=True)
class Probabilities:
    """A method's answer for a batch of images."""

    probs: Float[Tensor, "b c *space"]
    """Softmax over c = k + 1 classes, background first."""
    present: Float[Tensor, "b k"] | None = None
    """Probability that the class is in the image, if the method has a classifier."""
    boxes: Float[Tensor, "b k 4"] | None = None
    """Prompt boxes (x0, y0, x1, y1) in pixel edges of the image; NaN where there was no prompt."""
    heat: Float[Tensor, "b k gh gw"] | None = None
    """Class-activation maps in [0, 1], on their own grid."""
    no_prompt: Int[Tensor, "b k"] | None = None
    """1 where the class was judged present but no prompt could be made, so the mask is empty."""

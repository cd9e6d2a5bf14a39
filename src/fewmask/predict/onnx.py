"""A run's network as ONNX, for programs that have no torch, and whether it draws the same masks."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fewmask.blocks.presence import gate, judge
from fewmask.core.batch import Batch, BatchSpec, Probabilities, Step
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.run_record import RunRecord
from fewmask.core.volume import Volume
from fewmask.io.atomic import write_bytes
from fewmask.io.extra import need
from fewmask.methods import config_from
from fewmask.methods._method import Method, PresenceAware
from fewmask.predict.predictor import Predictor

IMAGE, PROBABILITIES, PRESENT = "image", "probabilities", "present"
"""Names of the network's input and outputs."""
_MOST = 4096
"""Largest batch, and largest side of a slice, that the file says it takes."""
_DIVIDES = 32
"""What the sides of slices of networks of any size are multiples of."""


class Drawing(nn.Module):
    """What a method draws before presence is asked: probabilities, and P(present) if masks follow
    it.
    """

    def __init__(self, method: Method, presence: str, structures: int) -> None:
        """`presence` is the method's setting; `none` where it has none."""
        super().__init__()
        self.method, self.presence, self.structures = method, presence, structures

    def forward(self, image: Float[Tensor, "b 1 *space"]) -> Any:
        """(b, c, *space), background first, and with presence (b, k)."""
        method = self.method
        if not isinstance(method, PresenceAware) or self.presence == "none":
            return method.predict(image).probs
        shape = (image.shape[0], self.structures)
        held = torch.ones(shape, dtype=torch.bool, device=image.device)
        answer = method.predict_present(image, held)
        return answer.probs, answer.present


class OnnxMethod(Method):
    """A network in ONNX Runtime, with the presence rule of its run: what another program does."""

    def __init__(self, session: Any, like: Predictor, presence: str) -> None:
        """`session` runs the file; windows, sides and costs are those of `like`."""
        super().__init__()
        self._session, self._presence = session, presence
        method = like.method
        self.batch_spec = BatchSpec(patch=method.batch_spec.patch)
        self.any_size = method.any_size
        self.neighbours = method.neighbours if isinstance(method, PresenceAware) else 0.0

    def predict(self, image: Float[Tensor, "b 1 *space"]) -> Probabilities:
        """Probabilities, gated slice by slice if masks follow presence."""
        drawn = self._draw(image)
        if drawn.present is None:
            return drawn
        held = judge(drawn.present, "slice")
        return Probabilities(gate(drawn.probs, held), drawn.present)

    def predict_present(
        self, image: Float[Tensor, "b 1 h w"], present: Bool[Tensor, "b k"]
    ) -> Probabilities:
        """The same with what each slice holds given."""
        drawn = self._draw(image)
        return Probabilities(gate(drawn.probs, present), drawn.present)

    def _draw(self, image: Tensor) -> Probabilities:
        answers = self._session.run(None, {IMAGE: image.float().cpu().numpy()})
        probs, *present = (torch.from_numpy(np.ascontiguousarray(one)) for one in answers)
        return Probabilities(probs, present[0] if present else None)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """It does not learn."""
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """It does not learn."""
        raise NotImplementedError


@dataclass(frozen=True)
class Differences:
    """How the masks of two predictors differ."""

    scans: tuple[str, ...]
    voxels: int
    """Of all scans."""
    differ: int
    """Voxels of another class."""


def presence_of(record: RunRecord) -> str:
    """Which slices get a mask, as the settings of a run's method say; `none` for methods without
    that setting.
    """
    return str(getattr(config_from(record.method, record.config), "presence", "none"))


def check_one_network(method: Method, name: str) -> None:
    """Raise `BadConfig` for a method of which no single network can be handed on."""
    if not method.one_network:
        raise BadConfig(
            f"{name} predicts with more than one pass of a network (prompts, gradients, several "
            "views), so it cannot be handed to other programs",
            did="nothing was written",
            fix="train a method that is one network (lite_unet and noisy_student with `views=1`, "
            "unet, trans_unet, vnet and the methods that end with a V-Net, such as cfr)",
            code="C02",
        )


def network_bytes(predictor: Predictor, presence: str) -> bytes:
    """The network as an ONNX file: float32, any batch; slices of networks of any size too.

    Raises `BadConfig` (C02) where the packages of the extra `onnx` are missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, "onnx", "ONNX")
    drawing = Drawing(predictor.method, presence, predictor.task.k).eval()
    batch = torch.export.Dim("batch", min=1, max=_MOST)
    dynamic: dict[int, Any] = {0: batch}
    patch = predictor.method.batch_spec.patch
    sides = patch or (predictor.recipe.size,) * 2
    if predictor.method.any_size:
        most = _MOST // _DIVIDES
        dynamic[2] = _DIVIDES * torch.export.Dim("rows", min=1, max=most)
        dynamic[3] = _DIVIDES * torch.export.Dim("columns", min=1, max=most)
        sides = (64, 96)  # unlike sides, so that none is taken for the other
    outputs = [PROBABILITIES] + [PRESENT] * (presence != "none")
    with torch.no_grad(), _quietly():
        program = torch.onnx.export(
            drawing.to("cpu"),
            (torch.rand(2, 1, *sides),),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=[IMAGE],
            output_names=outputs,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch's exporter gave no program")
    model = program.model_proto
    for graph in (model.graph, *model.functions):
        for node in graph.node:  # where in our files it was made: paths of this machine
            del node.metadata_props[:]
            node.doc_string = ""
    return bytes(model.SerializeToString())


def open_onnx(data: bytes, like: Predictor, presence: str) -> Predictor:
    """A predictor that differs from `like` in nothing but that ONNX Runtime runs the network."""
    runtime = need("onnxruntime", "onnx", "ONNX")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    method = OnnxMethod(session, like, presence)
    return Predictor(method, like.recipe, like.task, torch.device("cpu"), False, like.batch)


def compare_masks(
    ours: Predictor, other: Predictor, scans: Mapping[str, Volume] | Iterator[tuple[str, Volume]]
) -> Differences:
    """Masks of both, before clean-up, voxel by voxel."""
    names, voxels, differ = [], 0, 0
    for name, volume in scans.items() if isinstance(scans, Mapping) else scans:
        one, two = (p.volume(volume).label_map.voxels for p in (ours, other))
        names.append(name)
        voxels += one.size
        differ += int((one != two).sum())
    return Differences(tuple(names), voxels, differ)


def refuse_other_masks(found: Differences, allow: int) -> None:
    """Raise `BadCheckpoint` (W08) where masks differ in more voxels than are allowed."""
    if found.differ > allow:
        raise BadCheckpoint(
            f"ONNX Runtime draws other masks: {found.differ} of {found.voxels} voxels differ",
            where=[f"{len(found.scans)} scans: {', '.join(found.scans)}"],
            did="nothing was written",
            fix=f"where two classes are as good as equally probable rounding decides: a few voxels "
            f"of a million are that, and `allow={found.differ}` takes them; more are a fault",
            code="W08",
        )


def save_network(path: Path, data: bytes) -> None:
    """Write the file, whole or not at all."""
    write_bytes(path, data)


@contextmanager
def _quietly() -> Iterator[None]:
    """torch's exporter warns of packages that are not needed, and of its own older parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""One trained run, ready to answer: whole volumes slice by slice, memory bounded by one batch and
the label map.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fewmask.blocks.memory import channels_last
from fewmask.blocks.sam import Sam
from fewmask.blocks.sam.engine import use_openvino
from fewmask.core.batch import Probabilities, Task
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.placement import Placement, VolumePlacement
from fewmask.core.recipe import Recipe
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.run import RunFolder
from fewmask.io.weights import load_into
from fewmask.methods import build, config_from
from fewmask.methods._method import Method
from fewmask.predict.presence import smooth_presence
from fewmask.predict.windows import Windows, slide

Engine = Literal["torch", "openvino"]
Answer = Callable[[Float[Tensor, "b 1 h w"], list[int]], Probabilities]
"""From a batch of placed slices and their d to probabilities."""


@dataclass(frozen=True)
class Prediction:
    """What the network says about one scan."""

    label_map: LabelMap
    """Class index per voxel, on the grid of the scan."""
    prompts: dict[str, Any] | None
    """Per slice: presence, boxes on the scan's pixels, heat maps; None for methods without prompts.
    See `prompts.json`.
    """
    no_prompt: int
    """Slices and classes judged present for which no prompt could be made, so their mask is empty.
    """
    confidence: UInt8[np.ndarray, "d h w"] | None = None
    """Probability of the voxel's class, 0 to 255; if it was asked for."""
    notes: tuple[str, ...] = ()


@runtime_checkable
class Predicts(Protocol):
    """Whatever answers for a run: a network of ours, or a program."""

    @property
    def promptable(self) -> bool:
        """Is there an oracle-box bound?"""

    def volume(self, volume: Volume) -> Prediction:
        """The mask of a whole scan."""

    def volume_with_boxes(self, volume: Volume, boxes: Float[np.ndarray, "d k 4"]) -> Prediction:
        """The oracle-box bound. Raises `BadConfig` if there is none."""


class Predictor:
    """A method with its weights, recipe and class names."""

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        task: Task,
        device: torch.device,
        bf16: bool,
        batch: int = 8,
    ) -> None:
        """Parts come ready-made; `load` makes them from a run folder."""
        self.method = channels_last(method.eval().to(device))
        self.recipe = recipe
        self.task = task
        self.device = device
        self.bf16 = bf16
        self.batch = batch
        self.stride: tuple[int, int, int] | None = None
        """Step between windows of 3D methods (d, h, w); None = half a window."""
        self.gaussian = False
        """Weigh the middle of windows more."""
        self.windows = 2
        """Windows per call of the network; more are faster where a GPU idles, and take more of its
        memory.
        """
        self.with_confidence = False
        """3D methods also give the confidence of every voxel."""

    @classmethod
    def load(cls, run: Path, device: str | None = None, engine: Engine = "torch") -> "Predictor":
        """Open a finished run. Raises `BadCheckpoint` when the run has no final weights.

        `engine="openvino"` runs SAM's image encoder by OpenVINO on the CPU; raises `BadConfig`
        where there is none to run.
        """
        folder = open_finished(run)
        record = folder.read_record()
        method = build(record.method, config_from(record.method, record.config), record.task)
        load_into(method, folder.weights)
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if engine == "openvino":
            if not isinstance(getattr(method, "sam", None), Sam) or place.type != "cpu":
                raise BadConfig(
                    "OpenVINO runs the encoder of methods with a SAM, on the CPU",
                    fix="leave --engine out",
                    code="C02",
                )
            use_openvino(method.sam, record.bf16)  # type: ignore[arg-type]
        return cls(method, Recipe.from_dict(folder.read_recipe()), record.task, place, record.bf16)

    @property
    def promptable(self) -> bool:
        """Does the method take boxes?"""
        return self.method.promptable

    def volume(self, volume: Volume) -> Prediction:
        """The mask of a whole scan, with the prompts the model gave itself."""
        if self.method.batch_spec.patch is not None:
            return self._run_windows(volume, self.method.batch_spec.patch)
        return self._run(
            volume, lambda image, _: self.method.predict(image), self.method.neighbours
        )

    def volume_with_boxes(self, volume: Volume, boxes: Float[np.ndarray, "d k 4"]) -> Prediction:
        """The oracle-box bound: prompts are these boxes (pixel edges of the scan's slices, NaN =
        none), not the model's own.

        An upper bound to be shown beside the automatic result, never instead of it.
        """
        if not self.method.promptable:
            raise no_bound()
        placed = Placement.of(volume.shape, volume.spacing_mm, self.recipe).box_to_target(boxes)
        boxes_t = torch.from_numpy(placed.astype(np.float32))

        def answer(image: Tensor, slices: list[int]) -> Probabilities:
            result: Probabilities = self.method.segment(image, boxes_t[slices].to(image.device))  # type: ignore[operator]
            return result

        return self._run(volume, answer)

    def _run(self, volume: Volume, answer: Answer, neighbours: float = 0.0) -> Prediction:
        """Slice by slice; with `neighbours` once more where these overrule what a slice by itself
        was judged to hold.
        """
        placement = Placement.of(volume.shape, volume.spacing_mm, self.recipe)
        labels = np.zeros(volume.shape, np.uint8)
        lines: list[dict[str, Any]] = [{}] * volume.shape[0]
        present = np.zeros((volume.shape[0], self.task.k), np.float32)

        def fill(answer: Answer, wanted: Sequence[int]) -> None:
            for slices, image in self.images(volume, wanted):
                probs = self._ask(answer, image, slices)
                restored = placement.restore(probs.probs.float().cpu().numpy())
                labels[slices] = restored.argmax(1).astype(np.uint8)
                if probs.present is not None:
                    present[slices] = probs.present.float().cpu().numpy()
                for line in _prompt_lines(probs, slices, placement):
                    lines[line["d"]] = line

        fill(answer, range(volume.shape[0]))
        if neighbours:
            settled = smooth_presence(present, neighbours)
            overruled = (settled != (present >= 0.5)).any(1).nonzero()[0].tolist()
            judged = torch.from_numpy(settled)
            fill(
                lambda image, slices: self.method.predict_present(  # type: ignore[operator]
                    image, judged[slices].to(image.device)
                ),
                overruled,
            )
        lines = [line for line in lines if line]
        missing = sum(sum(line["no_prompt"]) for line in lines)
        prompts = {"classes": list(self.task.classes), "slices": lines} if lines else None
        beyond = 1 - placement.covered.mean()
        notes = (
            (f"{beyond:.0%} of each slice lies beyond the network's grid and is background",)
            if beyond >= 0.005
            else ()
        )
        return Prediction(LabelMap(labels, volume.grid), prompts, missing, notes=notes)

    def _run_windows(self, volume: Volume, patch: tuple[int, int, int]) -> Prediction:
        """Windows over the placed scan; slices are restored as soon as all that they are made of is
        finished.
        """
        placement = VolumePlacement.of(volume.shape, volume.spacing_mm, self.recipe)
        scaled = self.recipe.scale(volume.intensities(), self.bounds(volume))
        placed = torch.from_numpy(placement.place(scaled))
        labels = np.zeros(volume.shape, np.uint8)
        confidence = np.zeros(volume.shape, np.uint8) if self.with_confidence else None
        first = d = 0
        kept = np.zeros((self.task.k + 1, 0, *placement.shape[1:]), np.float32)

        def ask(windows: Tensor) -> Tensor:
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
            ):
                return self.method.predict(windows.to(self.device)).probs.cpu()

        for block in slide(placed, Windows(patch, self.stride, self.gaussian, self.windows), ask):
            kept = np.concatenate([kept, block.numpy()], 1)
            end = d
            while end < volume.shape[0] and placement.rows_for(end).stop <= first + kept.shape[1]:
                end += 1
            for start in range(d, end, self.batch):
                slices = range(start, min(start + self.batch, end))
                probs = placement.restore(kept, first, slices)
                labels[slices.start : slices.stop] = probs.argmax(0).astype(np.uint8)
                if confidence is not None:
                    confidence[slices.start : slices.stop] = np.round(
                        255 * probs.max(0).clip(0, 1)
                    ).astype(np.uint8)
            d = end
            if d < volume.shape[0]:
                drop = placement.rows_for(d).start - first
                kept, first = kept[:, drop:], first + drop
        return Prediction(LabelMap(labels, volume.grid), None, 0, confidence)

    def _ask(self, answer: Answer, image: Tensor, slices: list[int]) -> Probabilities:
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return answer(image.to(self.device), slices)

    def images(
        self, volume: Volume, wanted: Sequence[int]
    ) -> Iterator[tuple[list[int], Float[Tensor, "b 1 h w"]]]:
        """The scan's `wanted` slices as the network sees them, a few at a time."""
        placement = Placement.of(volume.shape, volume.spacing_mm, self.recipe)
        bounds = self.bounds(volume)
        for start in range(0, len(wanted), self.batch):
            slices = list(wanted[start : start + self.batch])
            scaled = self.recipe.scale(volume.intensities(slices), bounds)
            yield slices, torch.from_numpy(placement.place(scaled)[:, None])

    def bounds(self, volume: Volume) -> tuple[float, float]:
        """The scan's intensity bounds under the recipe."""
        return self.recipe.bounds(
            volume.intensities()
            if self.recipe.modality == "mr"
            else np.zeros((1, 1, 1), np.float32)
        )


def open_finished(run: Path) -> RunFolder:
    """A run folder with its final weights. Raises `BadCheckpoint` if it has none."""
    folder = RunFolder.open(run)
    if not folder.weights.exists():
        raise BadCheckpoint(
            "the run is not finished: it has no weights.safetensors",
            where=str(run),
            fix=f"fewmask train ... --out {run}   (goes on from the last save)",
            code="W06",
        )
    return folder


def no_bound() -> BadConfig:
    """What a method without box prompts answers."""
    return BadConfig(
        "this method takes no box prompts, so it has no oracle-box bound", did="nothing was written"
    )


def _prompt_lines(
    probs: Probabilities, slices: list[int], placement: Placement
) -> list[dict[str, Any]]:
    """One record per slice for prompts.json; empty for methods that make no prompts."""
    if probs.boxes is None or probs.present is None or probs.no_prompt is None:
        return []
    boxes = placement.box_to_source(probs.boxes.double().cpu().numpy())
    heat = None if probs.heat is None else probs.heat.float().cpu().numpy()
    return [
        {
            "d": d,
            "present": [round(float(p), 4) for p in probs.present[row]],
            "boxes_raw": [
                None if np.isnan(box).any() else [round(float(v), 2) for v in box]
                for box in boxes[row]
            ],
            "heat": None if heat is None else np.round(heat[row], 3).astype(float).tolist(),
            "no_prompt": [int(n) for n in probs.no_prompt[row]],
        }
        for row, d in enumerate(slices)
    ]

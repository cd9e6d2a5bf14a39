"""A trained network applied to whole volumes, slice by slice or window by window; memory is bounded
by one batch and the label map.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from fewmask.blocks.device import choose_device, in_half
from fewmask.blocks.memory import channels_last, memory_in_words
from fewmask.blocks.sam.engine import use_openvino
from fewmask.cleanup.rule import Cleaning
from fewmask.core.batch import Probabilities, Task
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.placement import Placement, VolumePlacement, Window
from fewmask.core.recipe import Recipe
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.run import RunFolder
from fewmask.io.stream import sha256
from fewmask.io.weights import load_into
from fewmask.methods import build, config_from
from fewmask.methods._method import HasSam, Method, PresenceAware, Promptable
from fewmask.predict.mosaic import join
from fewmask.predict.presence import smooth_presence
from fewmask.predict.restore import (
    SliceRestorer,
    VolumeRestorer,
    classes_of,
    confidence_of,
    mass_of,
)
from fewmask.predict.windows import Windows, slide
from fewmask.prepare.intensity import intensity_notes

Engine = Literal["torch", "openvino"]
PredictSlices = Callable[[Float[Tensor, "b 1 h w"], list[int], int], Probabilities]
"""From a batch of slices seen through a window, their d, and the window's number, to
probabilities.
"""
Watch = Callable[[Sequence[int], Float[Tensor, "c m h w"]], None]
"""Called with the d of a few slices and their probabilities on the scanner's pixels, background
first; again with those that are drawn again.
"""


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
    mass: Float[np.ndarray, "d k"] | None = None
    """Sum over each slice of every structure's probabilities; comes with `confidence`."""
    present: Float[np.ndarray, "d k"] | None = None
    """Judged probability that a slice holds a structure, before neighbours were asked; None for
    methods that judge no presence.
    """
    notes: tuple[str, ...] = ()
    cleaned: Cleaning | None = None
    """What clean-up did to the mask; None: it is as the network drew it (`predict/cleanup.py`)."""


@runtime_checkable
class Predicts(Protocol):
    """What predicts for a run: a network of ours, or an outside program."""

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
        fp16: bool = False,
    ) -> None:
        """Parts come ready-made; `load` makes them from a run folder."""
        self.method = channels_last(method.eval().to(device))
        self.recipe = recipe
        self.task = task
        self.device = device
        self.bf16, self.fp16 = bf16, fp16
        self.batch = batch
        patch = method.batch_spec.patch
        self.windows = None if patch is None else Windows(patch)
        """How a 3D method cuts a scan; None for methods that work on slices."""
        self.stamp = ""
        """What it is, in a line, if it comes from a run folder: weights, recipe, windows."""
        self.with_confidence = False
        """Also give the confidence of every voxel, and the sums of probabilities (`mass`)."""
        self.watch: Watch | None = None
        """Sees the probabilities of every slice as they are made: all at once may not fit."""

    @classmethod
    def load(cls, run: Path, device: str | None = None, engine: Engine = "torch") -> "Predictor":
        """Open a finished run. Raises `BadCheckpoint` when the run has no final weights, and
        `BadConfig` for a device that is not there (F08).

        `engine="openvino"` runs SAM's image encoder by OpenVINO on the CPU; raises `BadConfig`
        where there is none to run.
        """
        folder = open_finished(run)
        record = folder.read_record()
        method = build(record.method, config_from(record.method, record.config), record.task)
        load_into(method, folder.weights)
        place = choose_device(device)
        if engine == "openvino":
            if not isinstance(method, HasSam) or place.type != "cpu":
                raise BadConfig(
                    "OpenVINO runs the encoder of methods with a SAM, on the CPU",
                    fix="leave `engine` out",
                    code="C02",
                )
            use_openvino(method.sam, record.bf16)
        predictor = cls(
            method, folder.read_recipe(), record.task, place, record.bf16, fp16=record.fp16
        )
        predictor.stamp = f"{sha256(folder.weights)} {predictor.recipe} {record.bf16} {engine}"
        predictor.stamp += f" {record.config}" + " float16" * record.fp16
        return predictor

    @property
    def promptable(self) -> bool:
        """Does the method take boxes?"""
        return isinstance(self.method, Promptable)

    def volume(
        self, volume: Volume, probabilities: Float[np.ndarray, "c d h w"] | None = None
    ) -> Prediction:
        """The mask of a whole scan, with the prompts the model gave itself.

        `probabilities` is filled, background first, a few slices at a time; it is the only thing of
        its size, and may be a file mapped into memory.
        """
        with self._memory_in_words():
            if self.windows is not None:
                return self._run_windows(volume, self.windows, probabilities)
            own = self.method.predict
            return self._run(volume, lambda image, *_: own(image), True, probabilities)

    def volume_with_tags(
        self,
        volume: Volume,
        tags: Int8[np.ndarray, "d k"],
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
        skip_empty: bool = False,
    ) -> Prediction:
        """The mask of a whole scan, where a person says which slices hold a structure: 1 yes, 0 no,
        -1 nobody said (it holds what the network draws in that slice alone).

        A method that does not judge slices draws as ever; the mask is not cut off where tags end,
        unless `skip_empty` (2D methods) leaves out slices that are said to hold nothing: they stay
        empty, their confidence is 255, and their `probabilities` are not filled.
        """
        if self.windows is not None:
            return self.volume(volume, probabilities)
        own = self.method.predict
        seen = (tags != 0).any(1).nonzero()[0].tolist() if skip_empty else None
        with self._memory_in_words():
            return self._run(
                volume,
                lambda image, *_: own(image),
                probabilities=probabilities,
                told=tags,
                seen=seen,
            )

    def volume_with_boxes(self, volume: Volume, boxes: Float[np.ndarray, "d k 4"]) -> Prediction:
        """The oracle-box bound: prompts are these boxes (pixel edges of the scan's slices, NaN =
        none), not the model's own.

        An upper bound to be shown beside the automatic result, never instead of it.
        """
        method = self.method
        if not isinstance(method, Promptable):
            raise no_bound()
        placement = self._placement(volume)
        placed, windows = placement.box_to_target(boxes), placement.windows
        seen = [placed] if len(windows) == 1 else [one.clip_box(placed) for one in windows]
        boxes_t = torch.from_numpy(np.stack(seen).astype(np.float32))

        def answer(image: Tensor, slices: list[int], window: int) -> Probabilities:
            return method.segment(image, boxes_t[window, slices].to(image.device))

        with self._memory_in_words():
            return self._run(volume, answer)

    def with_windows(
        self,
        stride: tuple[int, int, int] | None = None,
        gaussian: bool | None = None,
        batch: int | None = None,
    ) -> "Predictor":
        """A predictor with the same network that cuts scans otherwise; what is None stays as it is
        here (see `Windows`).

        Raises `BadConfig` for a method that works on slices, and for a stride that would leave
        voxels out.
        """
        if self.windows is None:
            raise no_windows()
        other = copy.copy(self)
        other.windows = replace(
            self.windows,
            stride=self.windows.stride if stride is None else stride,
            gaussian=self.windows.gaussian if gaussian is None else gaussian,
            batch=self.windows.batch if batch is None else batch,
        )
        other.stamp = self.stamp and f"{self.stamp} {other.windows}"
        return other

    def watched_by(self, watch: Watch) -> "Predictor":
        """A predictor with the same network whose probabilities `watch` sees."""
        other = copy.copy(self)
        other.watch = watch
        return other

    def _run(
        self,
        volume: Volume,
        predict: PredictSlices,
        smooth: bool = False,
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
        told: Int8[np.ndarray, "d k"] | None = None,
        seen: Sequence[int] | None = None,
    ) -> Prediction:
        """Slice by slice; with `smooth` once more where neighbours overrule what a slice by itself
        was judged to hold, if the method has that; with `told` where tags overrule what was drawn.
        Slices that are not in `seen`, if it is given, stay empty for sure.
        """
        placement = self._placement(volume)
        restorer = SliceRestorer(placement, self.device)
        labels = np.zeros(volume.shape, np.uint8)
        confidence = np.full(volume.shape, 255, np.uint8) if self.with_confidence else None
        mass = np.zeros((volume.shape[0], self.task.k)) if self.with_confidence else None
        judged_slices = False
        records: dict[int, dict[str, Any]] = {}
        windows = placement.windows
        present = np.zeros((len(windows), volume.shape[0], self.task.k), np.float32)

        def fill(predict: PredictSlices, wanted: Sequence[int]) -> None:
            nonlocal judged_slices
            for slices, placed in self._place(volume, wanted, placement):
                answers = []
                for number, window in enumerate(windows):
                    with self._inference():
                        answer = predict(placed[window.part].to(self.device), slices, number)
                    if answer.present is not None:
                        judged_slices = True
                        present[number, slices] = answer.present.float().cpu().numpy()
                    answers.append(answer)
                probs = join(answers, placement)
                restored = restorer.restore(probs.probs)
                labels[slices] = classes_of(restored, 1)
                if probabilities is not None:
                    probabilities[:, slices] = restored.swapaxes(0, 1).numpy(force=True)
                if confidence is not None and mass is not None:
                    confidence[slices] = confidence_of(restored.swapaxes(0, 1))
                    mass[slices] = mass_of(restored.swapaxes(0, 1))
                if self.watch is not None:
                    self.watch(slices, restored.swapaxes(0, 1))
                records.update(_prompt_records(probs, slices, placement))

        fill(predict, range(volume.shape[0]) if seen is None else seen)
        surest = present.max(0)
        method = self.method
        if isinstance(method, PresenceAware) and (
            told is not None or (smooth and method.neighbours)
        ):
            if told is None:
                before, settled = surest >= 0.5, smooth_presence(surest, method.neighbours)
            else:
                before = np.stack([(labels == n + 1).any((1, 2)) for n in range(self.task.k)], 1)
                settled = np.where(told < 0, before, told == 1)
            overruled = (settled != before).any(1).nonzero()[0].tolist()
            # Of a slice that holds it, each window that says so does, and in any case the surest.
            judged = torch.from_numpy(settled & ((present >= 0.5) | (present == surest)))

            def overrule(image: Tensor, slices: list[int], window: int) -> Probabilities:
                return method.predict_present(image, judged[window, slices].to(image.device))

            fill(overrule, overruled)
        depth, number = volume.shape[0], volume.grid.orientation.slice_index
        # `slice` is d in the order of the file, in which people count.
        lines = [{"slice": number(d, depth), **records[d]} for d in sorted(records)]
        missing = sum(sum(line["no_prompt"]) for line in lines)
        prompts = {"classes": list(self.task.classes), "slices": lines} if lines else None
        notes = intensity_notes(volume, self.recipe.modality)
        if len(windows) > 1:
            notes.append(
                f"wider than the network's grid: seen through {len(windows)} overlapping windows"
            )
        return Prediction(
            LabelMap(labels, volume.grid),
            prompts,
            missing,
            confidence,
            mass,
            surest if judged_slices else None,
            tuple(notes),
        )

    def _run_windows(
        self,
        volume: Volume,
        windows: Windows,
        probabilities: Float[np.ndarray, "c d h w"] | None = None,
    ) -> Prediction:
        """Windows over the placed scan; slices are restored as soon as all that they are made of is
        finished.
        """
        placement = VolumePlacement.of(volume.shape, volume.spacing_mm, self.recipe)
        scaled = self.recipe.scale(volume.intensities(), self.bounds(volume))
        # Windows are cut, summed and restored on the device: only labels leave it.
        placed = torch.from_numpy(placement.place(scaled)).to(self.device)
        restorer = VolumeRestorer(placement, self.device)
        labels = np.zeros(volume.shape, np.uint8)
        confidence = np.zeros(volume.shape, np.uint8) if self.with_confidence else None
        mass = np.zeros((volume.shape[0], self.task.k)) if self.with_confidence else None

        def predict(cut: Tensor) -> Tensor:
            with self._inference():
                return self.method.predict(cut).probs

        # Two counts of slices run side by side, the network's and the scan's. `kept` holds the
        # network's finished slices that are still needed, from its slice `first` on. Slices of the
        # scan before `d` are written; those from `d` to `end` now have all they are made of.
        first = d = 0
        kept = placed.new_zeros((self.task.k + 1, 0, *placement.shape[1:]))
        for block in slide(placed, windows, predict):
            kept = torch.cat([kept, block], 1)
            end = d
            while end < volume.shape[0] and placement.rows_for(end).stop <= first + kept.shape[1]:
                end += 1
            for start in range(d, end, self.batch):
                stop = min(start + self.batch, end)
                probs = restorer.restore(kept, first, range(start, stop))
                labels[start:stop] = classes_of(probs, 0)
                if probabilities is not None:
                    probabilities[:, start:stop] = probs.numpy(force=True)
                if confidence is not None and mass is not None:
                    confidence[start:stop] = confidence_of(probs)
                    mass[start:stop] = mass_of(probs)
                if self.watch is not None:
                    self.watch(range(start, stop), probs)
            d = end
            if d < volume.shape[0]:
                drop = placement.rows_for(d).start - first
                kept, first = kept[:, drop:], first + drop
        notes = tuple(intensity_notes(volume, self.recipe.modality))
        return Prediction(
            LabelMap(labels, volume.grid), None, 0, confidence, mass=mass, notes=notes
        )

    def _memory_in_words(self) -> AbstractContextManager[None]:
        advice = ["make `windows` smaller"] if self.windows else []
        advice += ["use the CPU"] if self.device.type != "cpu" else []
        return memory_in_words(self.device, "no mask was made", ", or ".join(advice))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients (a method may ask for its own), and 16 bits where the run has them."""
        with torch.no_grad(), in_half(self.device, self.bf16, self.fp16):
            yield

    def images(
        self, volume: Volume, wanted: Sequence[int]
    ) -> Iterator[tuple[list[int], Window, Float[Tensor, "b 1 h w"]]]:
        """The scan's `wanted` slices as the network sees them, a few at a time, through every
        window of the placement.
        """
        placement = self._placement(volume)
        for slices, placed in self._place(volume, wanted, placement):
            for window in placement.windows:
                yield slices, window, placed[window.part]

    def _placement(self, volume: Volume) -> Placement:
        """Where the scan's slices lie; in one piece if the network takes any size."""
        whole = self.method.any_size
        return Placement.of(volume.shape, volume.spacing_mm, self.recipe, whole)

    def _place(
        self, volume: Volume, wanted: Sequence[int], placement: Placement
    ) -> Iterator[tuple[list[int], Float[Tensor, "n 1 a b"]]]:
        """The `wanted` slices scaled and placed, a few at a time."""
        bounds = self.bounds(volume)
        for start in range(0, len(wanted), self.batch):
            slices = list(wanted[start : start + self.batch])
            scaled = self.recipe.scale(volume.intensities(slices), bounds)
            yield slices, torch.from_numpy(placement.place(scaled)[:, None])

    def bounds(self, volume: Volume) -> tuple[float, float]:
        """The scan's intensity bounds under the recipe."""
        if self.recipe.modality == "mr":
            return self.recipe.bounds(volume.intensities())
        return self.recipe.bounds(np.zeros((1, 1, 1), np.float32))  # CT: the same for every scan


def open_finished(run: Path) -> RunFolder:
    """A run folder with its final weights. Raises `BadCheckpoint` if it has none."""
    folder = RunFolder.open(run)
    folder.check_not_lost()
    if not folder.weights.exists():
        raise BadCheckpoint(
            "the run is not finished: it has no weights.safetensors",
            where=str(run),
            fix=f"train again with `out={run}`: it resumes from the last save",
            code="W06",
        )
    return folder


def no_bound() -> BadConfig:
    """What is raised for a method without box prompts."""
    return BadConfig(
        "this method takes no box prompts, so it has no oracle-box bound",
        did="nothing was written",
        fix="leave out `oracle_box`",
    )


def no_windows() -> BadConfig:
    """What is raised for a method that does not cut scans into windows."""
    return BadConfig(
        "stride, Gaussian weights and windows at a time are for 3D methods",
        did="nothing was written",
        fix="leave them out",
        code="C02",
    )


def _prompt_records(
    probs: Probabilities, slices: list[int], placement: Placement
) -> dict[int, dict[str, Any]]:
    """One record per slice d for prompts.json; empty for methods that make no prompts."""
    if probs.boxes is None or probs.present is None or probs.no_prompt is None:
        return {}
    boxes = placement.box_to_source(probs.boxes.double().cpu().numpy())
    heat = None if probs.heat is None else probs.heat.float().cpu().numpy()
    records: dict[int, dict[str, Any]] = {}
    for row, d in enumerate(slices):
        records[d] = {
            "d": d,
            "present": [round(float(p), 4) for p in probs.present[row]],
            "boxes_raw": [_rounded_box(box) for box in boxes[row]],
            "heat": None if heat is None else np.round(heat[row], 3).astype(float).tolist(),
            "no_prompt": [int(n) for n in probs.no_prompt[row]],
        }
        if len(placement.windows) > 1:  # then a box is the smallest around those of the windows
            records[d]["windows"] = len(placement.windows)
    return records


def _rounded_box(box: Float[np.ndarray, "4"]) -> list[float] | None:
    """A box for prompts.json; None for no box (NaN)."""
    if np.isnan(box).any():
        return None
    return [round(float(edge), 2) for edge in box]

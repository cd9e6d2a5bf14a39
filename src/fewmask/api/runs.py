"""Train a model, open it again, and let it draw masks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from fewmask.api.arguments import (
    File,
    Settings,
    Spacing,
    Trust,
    checked,
    path_or_none,
    scan_options,
    setting_lines,
)
from fewmask.api.mask import PredictedMask
from fewmask.api.scans import as_volume
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.progress import OnProgress, ignore_progress
from fewmask.core.run_record import RunRecord
from fewmask.core.task import DEFAULT_METHOD
from fewmask.core.volume import Plane, Volume
from fewmask.core.words import count
from fewmask.evaluate.scores import as_row, read_scores
from fewmask.io.prepared import is_prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv
from fewmask.io.text import expecting
from fewmask.predict import (
    Cleanup,
    MeanPredictor,
    Predictor,
    Predicts,
    load_mean,
    load_predictor,
    open_calibration,
    open_cleanup,
    open_form,
    open_known,
)
from fewmask.predict import predict_folder as write_masks
from fewmask.predict.cleanup import NOTHING
from fewmask.predict.folder import plane_of
from fewmask.predict.predictor import Engine
from fewmask.predict.quality import look_at
from fewmask.predict.summary import PredictSummary
from fewmask.quality.beside import Seen
from fewmask.quality.tables import UNCALIBRATED, Calibration, judge
from fewmask.training import TrainRequest
from fewmask.training import train as run_training

Amp = Literal["auto", "on", "off"]


@dataclass(frozen=True, repr=False)
class TrainedRun(os.PathLike[str]):
    """A run folder: can stand wherever a path can, and shows what came of the training."""

    path: Path

    @property
    def record(self) -> RunRecord:
        """What the run was made of: method, settings, data, steps (`config.json`)."""
        return RunFolder.open(self.path).read_record()

    @property
    def history(self) -> list[dict[str, int | float]]:
        """The losses of every logged step, for `pandas.DataFrame(run.history)`; `step` counts from
        0.
        """
        run = RunFolder.open(self.path)
        rows = read_csv(run.losses, ["step"]) if run.losses.exists() else []
        with expecting(run.losses, kind=BadCheckpoint):
            return [
                {"step": int(row.pop("step")), **{k: float(v) for k, v in row.items() if v}}
                for row in rows
            ]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One record per scan, structure and kind of prompts, as `evaluate` left them; empty before
        it.
        """
        run = RunFolder.open(self.path)
        return [as_row(score) for score in read_scores(run.metrics)]

    @checked
    def load(self, device: str | None = None, cleanup: File = "auto") -> "LoadedRun":
        """The model, ready to predict; see `fewmask.load`."""
        return load(self, device=device, cleanup=cleanup)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        """The path, as text."""
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        """A file of the folder: `run / "losses.csv"`."""
        return self.path / name

    def __repr__(self) -> str:
        """Path, method, budget and steps."""
        return f"{type(self).__name__}({', '.join(self._parts())})"

    def _parts(self) -> list[str]:
        record, budget = self.record, RunFolder.open(self.path).read_budget()
        return [
            str(self.path),
            record.method,
            f"{budget.masks} {budget.kind}",
            count(record.steps, "step"),
            count(len(self.metrics), "score"),
        ]


@dataclass(frozen=True, repr=False)
class LoadedRun(TrainedRun):
    """A trained run in memory, ready to predict."""

    predictor: Predicts
    cleanup: Cleanup = NOTHING
    """How its masks are cleaned."""
    others: tuple[Path, ...] = ()
    """Runs whose probabilities are averaged with those of this one."""
    calibration: Calibration = UNCALIBRATED
    """What its own scans say about predicted quality."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 1, 2, ..."""
        return tuple(self.record.task.classes)

    @property
    def module(self) -> nn.Module:
        """The trained network, in evaluation mode. Raises `BadConfig` for an outside program, and
        for a mean of runs.
        """
        if isinstance(self._network, MeanPredictor):
            raise BadConfig(
                "a mean of runs has no module of its own",
                did="",
                fix="load one of the runs by itself",
                code="C02",
            )
        return self._network.method

    @property
    def _network(self) -> Predictor | MeanPredictor:
        if not isinstance(self.predictor, Predictor | MeanPredictor):
            raise BadConfig(
                f"{self.record.method} runs in a program of its own: there are no probabilities "
                "and no module here",
                did="",
                fix="read the masks that `predict` writes",
                code="C02",
            )
        return self.predictor

    @checked
    def predict(
        self,
        scan: Any,
        *,
        probabilities: bool = False,
        affine: Any = None,
        spacing_mm: Spacing | None = None,
        trust: Trust | None = None,
        assume_ras: bool = False,
        volume: int | None = None,
        fix_nonfinite: bool = False,
        series: str | None = None,
        keep_first: bool = False,
        follow_links: bool = False,
        channel: str | int | None = None,
        intensity: str | None = None,
        plane: Plane | None = None,
    ) -> PredictedMask:
        """The mask of one scan; the parameters are those of `fewmask.predict`.

        Parameters
        ----------
        scan
            Path of a NIfTI file or DICOM folder, nibabel image, or array (i, j, k).
        probabilities
            Also keep the probabilities: float32, (1 + classes) times the scan in memory.
        affine
            Of an array: 4 x 4, from voxel (i, j, k, 1) to RAS millimetres.
        spacing_mm
            Of an array without `affine`, or instead of a header's: voxel size along i, j, k in mm.
        trust
            Which of two disagreeing geometries of a NIfTI file to take.
        assume_ras
            Take the axes of a file without orientation to run to the right, front and top.
        volume
            Which volume of a 4D file, from 0.
        fix_nonfinite
            Replace up to 0.1 % NaN or Inf voxels of a file by its smallest finite one.
        series
            DICOM series to take: its UID, number or description; or a table (`.csv`) as
            `CheckReport.write_series` makes it.
        keep_first
            Keep the first of DICOM slices at one position.
        follow_links
            Accept links that leave the folder.
        channel
            Which of several channels of each scan (`_0001`, `_flair`): number or name; None takes
            the first.
        intensity
            What the numbers of CT are where they are not Hounsfield units: `offset` (1024 too
            high), `wrapped` (negative ones stored as unsigned), or `SLOPE INTER`.
        plane
            In which plane scans are looked at: `axial`, `sagittal` or `coronal`. None is the run's.

        Returns
        -------
        PredictedMask
            On the grid of `scan`, and in its axis order through `numpy.asarray`.
        """
        options = scan_options(
            trust,
            assume_ras,
            volume,
            fix_nonfinite,
            spacing_mm,
            series,
            keep_first,
            follow_links,
            channel,
            intensity,
            plane,
        )
        return self._predict(as_volume(scan, affine, options), probabilities)

    def _predict(self, volume: Volume, with_probabilities: bool) -> PredictedMask:
        volume = volume.in_plane(plane_of(self.predictor))
        probabilities = None
        if isinstance(self.predictor, Predictor | MeanPredictor):
            self.predictor.with_confidence = True
        if with_probabilities:
            # Made in the file's order and filled through a view in (d, h, w): there is no copy.
            probabilities = np.zeros((len(self.classes) + 1, *volume.grid.shape), np.float32)
            turned = volume.grid.orientation.apply(probabilities)
            drawn = self._network.volume(volume, turned)
        else:
            drawn = self.predictor.volume(volume)
        prediction = self.cleanup.apply(drawn)
        signs = look_at(drawn, prediction, volume, len(self.classes))
        seen = Seen("scan", dict(zip(self.classes, signs, strict=True)), "")
        judged = judge([seen], self.calibration)
        return PredictedMask(
            prediction.label_map.voxels,
            volume.grid,
            (*volume.notes, *prediction.notes, *filter(None, [self.cleanup.note])),
            classes=self.classes,
            prompts=prediction.prompts,
            no_prompt=prediction.no_prompt,
            probabilities=probabilities,
            quality={one.structure: one for one in judged if one.structure in self.classes},
            cleaned=None if prediction.cleaned is None else prediction.cleaned.structures,
        )

    def _parts(self) -> list[str]:
        predictor, device = self.predictor, []
        if isinstance(predictor, Predictor | MeanPredictor):
            device = [f"on {predictor.device}"]
        mean = [f"mean with {', '.join(map(str, self.others))}"] if self.others else []
        return [*super()._parts(), f"classes: {', '.join(self.classes)}", *mean, *device]


@checked
def train(
    prepared: File,
    out: File,
    *,
    method: str = DEFAULT_METHOD,
    slices: int | None = None,
    volumes: int | None = None,
    draw: int = 0,
    in_order: bool = False,
    budget: File | None = None,
    seed: int = 0,
    minutes: float | None = None,
    steps: int | None = None,
    encoder: str | None = None,
    settings: Settings = (),
    device: str | None = None,
    threads: int | None = None,
    amp: Amp = "auto",
    compile: bool = False,
    workers: int | None = None,
    until: str | None = None,
    reuse_from: File | None = None,
    embeddings: File | None = None,
    embeddings_gib: float = 4.0,
    save_minutes: float = 2.0,
    save_steps: int | None = None,
    log: str | None = None,
    keep_states: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> TrainedRun:
    """Train a method on a prepared dataset; the same call resumes an unfinished run.

    Parameters
    ----------
    prepared
        Folder that `prepare` wrote.
    out
        Run folder; a new one, or an unfinished one of the same call.
    method
        Name of a method; `fewmask info` lists them.
    slices, volumes
        How many outlined slices, or whole masks, training may see: at most one of the two. With
        neither all: whole masks for a 3D method, if there are any, else outlined slices.
    draw
        Which masks are in this budget: another number, other masks.
    in_order
        Take volumes in the order of the training list instead of drawing them.
    budget
        File that names the masks that may be seen, as a run's `budget.toml` does, in place of
        `slices` and `volumes`.
    seed
        Initialisation and order of the batches.
    minutes, steps
        How long to train, at most one of the two; by default 10 minutes. Of minutes a few steps are
        timed, and the run then counts steps.
    encoder
        Size of SAM, for methods that have one: compact, small, tiny, vit-b, vit-l, vit-h.
    settings
        Changes of the method's settings, such as `{"lr": 1e-3}` or `["lr=0.001"]`;
        `fewmask info METHOD` lists them.
    device
        `cpu`, `cuda`, `cuda:1`; None takes a GPU if there is one.
    threads
        CPU threads; None takes what torch finds.
    amp
        bfloat16, or float16 on a GPU without it: `auto` measures whether it pays.
    compile
        Let torch.compile write kernels for V-Nets and U-Nets: up to a minute before the first step,
        shorter steps on a GPU.
    workers
        Threads that make batches; None takes one on a CPU, up to four beside a GPU.
    until
        Stop after this stage of a method that has several.
    reuse_from
        Folder of other runs: what one of them has trained in the very same way is taken from it.
    embeddings
        Folder in which embeddings of a frozen encoder are kept for later runs.
    embeddings_gib
        Most that may be kept there, in GiB.
    save_minutes
        Longest time between two saves.
    save_steps
        Also save every so many steps.
    log
        Also log losses for another program: `tensorboard` or `mlflow`, in the run folder, or
        `mlflow=ADDRESS`.
    keep_states
        Keep the last two states of a finished run, with its optimiser's: three times the weights
        each. Nothing needs them.
    on_progress
        Called with a `ProgressEvent` after every step (losses, time left, last save). Returning
        True stops training: everything up to there is saved.

    Returns
    -------
    TrainedRun
        The run folder, with `history`, `metrics` and `load()`; usable as a path.

    Raises
    ------
    BadConfig
        The request cannot be met, or `out` was made by another one.
    Interrupted
        A signal asked to stop; the same call resumes from the last save.

    Examples
    --------
    >>> run = fewmask.train(
    ...     "prepared", "run", method="unet", slices=3, steps=2, settings={"channels": (4, 8)}
    ... )
    >>> run
    TrainedRun(run, unet, 3 slices, 2 steps, 0 scores)
    >>> [row["step"] for row in run.history]
    [0, 1]
    """
    request = TrainRequest(
        prepared=Path(prepared),
        out=Path(out),
        method=method,
        slices=slices,
        volumes=volumes,
        draw=draw,
        in_order=in_order,
        budget=path_or_none(budget),
        seed=seed,
        minutes=minutes,
        steps=steps,
        encoder=encoder,
        settings=setting_lines(settings),
        device=device,
        threads=threads,
        amp=amp,
        compile=compile,
        workers=workers,
        until=until,
        reuse_from=path_or_none(reuse_from),
        embeddings=path_or_none(embeddings),
        embeddings_gib=embeddings_gib,
        save_minutes=save_minutes,
        save_steps=save_steps,
        log=log,
        keep_states=keep_states,
    )
    return TrainedRun(run_training(request, on_progress))


@checked
def load(
    run: File | list[File],
    *,
    cleanup: File = "auto",
    device: str | None = None,
    engine: Engine = "torch",
    stride: tuple[int, int, int] | None = None,
    gaussian: bool = False,
    windows: int | None = None,
) -> LoadedRun:
    """Open a finished run, to predict many scans or to get at the network.

    Parameters
    ----------
    run
        Run folder of `train`; or a list of them, of the same structures and of any methods: the
        mean of their probabilities decides, and the first one's clean-up cleans.
    cleanup
        `auto` cleans masks by the rule that the run learned from its labelled scans, `none` leaves
        them as the network draws them; or a JSON file like the run's `cleanup.json`.
    device
        `cpu`, `cuda`, `cuda:1`; None takes a GPU if there is one.
    engine
        `openvino` runs SAM's encoder faster on a CPU (extra `openvino`).
    stride
        3D methods: voxels (d, h, w) from one window to the next; None is half a window.
    gaussian
        3D methods: weigh the middle of a window more than its border.
    windows
        3D methods: windows at a time, 2 if None; a GPU has room for more.

    Returns
    -------
    LoadedRun
        With `predict(scan)`, `module` (the `torch.nn.Module`), `history`, `metrics`, `record`.

    Raises
    ------
    BadCheckpoint
        The folder is no run, or training has not come to its end.
    BadConfig
        Runs of other structures.

    Examples
    --------
    >>> model = fewmask.load("run", device="cpu")
    >>> model
    LoadedRun(run, unet, 3 slices, 2 steps, 0 scores, classes: liver, on cpu)
    >>> type(model.module).__name__
    'UNet2d'
    """
    path, *others = [Path(one) for one in (run if isinstance(run, list) else [run])]
    predictor = (
        load_mean([path, *others], device, engine)
        if others
        else load_predictor(path, device, engine)
    )
    if stride is not None or gaussian or windows is not None:
        predictor = predictor.with_windows(stride, gaussian or None, windows)
    own = UNCALIBRATED if others else open_calibration(path)  # a mean is another network
    return LoadedRun(path, predictor, open_cleanup(path, os.fspath(cleanup)), tuple(others), own)


@checked
def predict(
    run: File,
    scan: Any,
    *,
    probabilities: bool = False,
    affine: Any = None,
    spacing_mm: Spacing | None = None,
    trust: Trust | None = None,
    assume_ras: bool = False,
    volume: int | None = None,
    fix_nonfinite: bool = False,
    series: str | None = None,
    keep_first: bool = False,
    follow_links: bool = False,
    channel: str | int | None = None,
    intensity: str | None = None,
    plane: Plane | None = None,
    cleanup: File | None = None,
    device: str | None = None,
) -> PredictedMask:
    """The mask of one scan; nothing is written.

    Parameters
    ----------
    run
        Run folder, or what `train` or `load` returned; for many scans `load` it once.
    scan
        A path (NIfTI file, or folder of a DICOM series), a nibabel image, or an array (i, j, k)
        with `affine` or `spacing_mm`, in Hounsfield units for CT.
    probabilities
        Also keep the probabilities: float32, so (1 + classes) times 4 bytes per voxel in memory.
        Without it, memory stays at a few slices and the mask.
    affine
        Of an array: 4 x 4, from voxel (i, j, k, 1) to RAS millimetres, as nibabel's.
    spacing_mm
        Voxel size along the axes i, j, k in mm. Of an array it says that they run to the patient's
        right, front and top; of a file it replaces the header's.
    trust
        Which geometry of a NIfTI file to take where its two disagree: `sform` or `qform`.
    assume_ras
        Take the axes of a NIfTI file without orientation to run to the right, front and top.
    volume
        Which volume of a 4D NIfTI file, from 0.
    fix_nonfinite
        Replace up to 0.1 % NaN or Inf voxels of a file by its smallest finite one.
    series
        DICOM series to take: its UID, number or description; or a table (`.csv`) as
        `CheckReport.write_series` makes it.
    keep_first
        Keep the first of DICOM slices at one position.
    follow_links
        Accept links that leave the folder.
    channel
        Which of several channels of each scan (`_0001`, `_flair`): number or name; None takes the
        first.
    intensity
        What the numbers of CT are where they are not Hounsfield units: `offset` (1024 too high),
        `wrapped` (negative ones stored as unsigned), or `SLOPE INTER`.
    plane
        In which plane scans are outlined and looked at: `axial`, `sagittal` or `coronal`. None is
        axial; for prediction it is the run's.
    cleanup
        As `load` takes it; None is `auto`, or what a loaded run was loaded with.
    device
        `cpu`, `cuda`, `cuda:1`; None takes a GPU if there is one. A loaded run stays where it is.

    Returns
    -------
    PredictedMask
        `voxels` in (d, h, w), from the feet, front and right on; `numpy.asarray(mask)`,
        `to_nibabel()` and `probabilities` in the axis order of the scan; `volumes_ml`,
        `save(path)`.

    Raises
    ------
    BadScan
        The scan cannot be read, or does not say where it lies.
    BadConfig
        A folder of several scans, or an array without voxel sizes.

    Examples
    --------
    >>> fewmask.predict("run", "scans/images/phantom_00.nii.gz").shape
    (28, 96, 96)
    >>> array = np.random.default_rng(0).normal(0, 50, (40, 32, 12))
    >>> mask = fewmask.predict("run", array, spacing_mm=(3, 3, 5), probabilities=True)
    >>> mask.shape, np.asarray(mask).shape, mask.probabilities.shape
    ((12, 32, 40), (40, 32, 12), (2, 40, 32, 12))
    """
    options = scan_options(
        trust,
        assume_ras,
        volume,
        fix_nonfinite,
        spacing_mm,
        series,
        keep_first,
        follow_links,
        channel,
        intensity,
        plane,
    )
    return _loaded(run, device, cleanup)._predict(as_volume(scan, affine, options), probabilities)


@checked
def predict_folder(
    run: File,
    scans: File,
    out: File | None = None,
    *,
    cases: list[str] | None = None,
    spacing_mm: Spacing | None = None,
    trust: Trust | None = None,
    assume_ras: bool = False,
    volume: int | None = None,
    fix_nonfinite: bool = False,
    series: str | None = None,
    keep_first: bool = False,
    follow_links: bool = False,
    channel: str | int | None = None,
    intensity: str | None = None,
    plane: Plane | None = None,
    cleanup: File | None = None,
    known: Literal["auto", "none"] = "auto",
    tags: File | None = None,
    slices_from: int = 0,
    format: str = "nifti",
    naming: str = "case",
    terms: Mapping[str, str] | None = None,
    device: str | None = None,
    part: tuple[int, int] = (1, 1),
    again: bool = False,
    probabilities: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> PredictSummary:
    """Write a mask for every scan of a folder; a scan that cannot be read never stops the others.

    Parameters
    ----------
    run
        Run folder, or what `train` or `load` returned.
    scans
        A scan, a folder of scans, a DICOM folder, or a prepared dataset.
    out
        Folder for `CASE.nii.gz`; for a prepared dataset the run's own `predictions` if None (not
        of a mean of runs).
    cases
        Of a prepared dataset only these; None is all.
    spacing_mm
        Voxel size along the axes i, j, k of every file in mm, instead of the header's.
    trust
        Which geometry of a NIfTI file to take where its two disagree: `sform` or `qform`.
    assume_ras
        Take the axes of NIfTI files without orientation to run to the right, front and top.
    volume
        Which volume of 4D NIfTI files, from 0.
    fix_nonfinite
        Replace up to 0.1 % NaN or Inf voxels of a file by its smallest finite one.
    series
        DICOM series to take: its UID, number or description; or a table (`.csv`) as
        `CheckReport.write_series` makes it.
    keep_first
        Keep the first of DICOM slices at one position.
    follow_links
        Accept links that leave the folder.
    channel
        Which of several channels of each scan (`_0001`, `_flair`): number or name; None takes the
        first.
    intensity
        What the numbers of CT are where they are not Hounsfield units: `offset` (1024 too high),
        `wrapped` (negative ones stored as unsigned), or `SLOPE INTER`.
    plane
        In which plane scans are outlined and looked at: `axial`, `sagittal` or `coronal`. None is
        axial; for prediction it is the run's.
    cleanup
        As `load` takes it; None is `auto`, or what a loaded run was loaded with.
    known
        Of the run's own prepared dataset: `auto` ends masks of its training scans where their tags
        end and shows outlined slices as they were outlined; `none` leaves them as the network draws
        them. Scans kept aside are never touched.
    tags
        Of new scans: a table `case[,class],first_slice,last_slice` as `prepare` takes it. Masks end
        where tags end, and methods that judge slices are told what slices hold; scored, such masks
        have `prompts` `tags`.
    slices_from
        What this table calls the first slice of a file: 0, or 1 as ITK-SNAP does.
    format
        `nifti`, `nrrd`, `seg.nrrd`, `mha`; of DICOM scans also `dicom-seg` and `rtstruct`, which
        refer to the scan and carry its patient and study. Names and colours lie in the mask, or
        beside it for 3D Slicer and ITK-SNAP.
    naming
        `case`: masks are called after their case; `bids`: as derivatives of BIDS, such as
        `sub-01/anat/sub-01_desc-fewmask_dseg.nii.gz`, with a table of structures.
    terms
        For DICOM: structure -> coded term, `{"liver": "SCT:10200004:Liver"}`. Common structures
        have theirs, others are written as Tissue.
    device
        `cpu`, `cuda`, `cuda:1`; None takes a GPU if there is one. A loaded run stays where it is.
    part
        (i, n): every n-th scan from the i-th on, for several processes that fill one folder.
    again
        Draw masks again that stand there whole from this run, this scan and these options; else
        they are kept.
    probabilities
        Also write maps of what the network said, before clean-up: 8 bit, on the grid of the scan,
        `probabilities/CASE.1-STRUCTURE.nii.gz`.
    on_progress
        Called with a `ProgressEvent` after each scan (done, total, item, time left).

    Returns
    -------
    PredictSummary
        `written` case ids, `refused` with the reasons, `notes`, `put_in` (what tags and outlines
        did), `empty`: what to know of masks that should not be empty, and `quality` and `doubtful`:
        the Dice that masks probably have, as in `quality.csv` (beside `volumes.csv` in `out`).

    Raises
    ------
    BadConfig
        `out` lies in the input, or holds masks that no model drew or that a person corrected (F11).
    BadScan, NoRoom
        No mask could be made of any of the scans.

    Examples
    --------
    >>> fewmask.predict_folder("run", "scans/images", "masks")
    PredictSummary(4 written; 0 refused; 0 notes)
    """
    source, target = Path(scans), path_or_none(out)
    if target is None and (format != "nifti" or naming != "case"):
        raise BadConfig(
            "the run's own folder is for masks in NIfTI, which scores and reports read",
            fix="give out=",
            code="C02",
        )
    if target is None and not is_prepared(source):
        raise BadConfig("where should the masks go?", fix="give out=", code="C02")
    options = scan_options(
        trust,
        assume_ras,
        volume,
        fix_nonfinite,
        spacing_mm,
        series,
        keep_first,
        follow_links,
        channel,
        intensity,
        plane,
    )
    loaded = _loaded(run, device, cleanup)
    if target is None and loaded.others:
        raise BadConfig(
            "where should the masks of the mean go? The run's own folder is for its own masks",
            fix="give out=",
            code="C02",
        )
    return write_masks(
        loaded.predictor,
        source,
        target or RunFolder.open(loaded.path).own_predictions,
        cases=cases,
        options=options,
        cleanup=loaded.cleanup,
        known=open_known(loaded.path, source, known, path_or_none(tags), slices_from),
        form=open_form(
            loaded.path, format, [f"{one}={term}" for one, term in (terms or {}).items()], naming
        ),
        part=part,
        again=again,
        probabilities=probabilities,
        calibration=UNCALIBRATED if loaded.others else open_calibration(loaded.path),
        slices_from=None if is_prepared(source) else slices_from,
        on_progress=on_progress,
    )


def _loaded(run: File, device: str | None, cleanup: File | None) -> LoadedRun:
    if not isinstance(run, LoadedRun):
        return load(run, device=device, cleanup="auto" if cleanup is None else cleanup)
    if cleanup is None:
        return run
    return replace(run, cleanup=open_cleanup(run.path, os.fspath(cleanup)))

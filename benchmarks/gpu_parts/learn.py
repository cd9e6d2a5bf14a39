"""How well it learns in the papers' steps: the left atrium from one mask, thirteen organs from
seven; the compact SAM.
"""

import contextlib
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from torch import Tensor

from fewmask.benchmark.rows import add_rows, as_rows, finished_run
from fewmask.benchmark.score import protocol_lines, score_run
from fewmask.blocks.sam import build_sam, size_named
from fewmask.core.batch import Step
from fewmask.core.errors import BadCheckpoint, Interrupted
from fewmask.evaluate.scores import CaseScore
from fewmask.io.ledger import locate
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder, States
from fewmask.io.weights import fit_into, load_tensors, save_tensors
from fewmask.predict import Predictor
from fewmask.training import ProgressEvent, TrainRequest, train
from fewmask.training.pretrain import PretrainConfig, count_images, score_held_out
from fewmask.training.pretrain_run import pretrain
from fewmask.training.pretrained import OWN
from gpu_parts.job import Job, phantoms
from gpu_parts.speed import ATRIUM, ORGANS, TINY, TUNED, patches


@dataclass(frozen=True)
class Lesson:
    """A training, the papers' settings where they say something."""

    data: str
    method: str
    steps: int
    """The papers'."""
    volumes: int
    settings: tuple[str, ...]
    stride: tuple[int, int, int] | None = None
    protocol: str = ""
    rest: float = 40.0
    """Seconds that predicting and scoring get."""

    @property
    def timed(self) -> list[tuple[str, str]]:
        """The cases of `speed` whose steps it is made of."""
        methods = ("canvas_sam", "mean_teacher") if self.method == "cfr" else (self.method,)
        return [(name, self.data) for name in methods]


def finetune(settings: tuple[str, ...]) -> tuple[str, ...]:
    """The same for CFR's first stage."""
    return tuple(f"finetune.{setting}" for setting in settings)


_WIDE, _SMALL = patches(ATRIUM), patches(ORGANS)
_TUNED_SAM = finetune((*_SMALL, "canvas=256", "centred=0.5"))


def atrium(method: str, settings: tuple[str, ...] = (), rest: float = 40.0) -> Lesson:
    """The papers' training on the left atrium, from one labelled scan."""
    wide = (*_WIDE, *settings)
    return Lesson("atrium", method, 6000, 1, wide, (4, 18, 18), "la-2018", rest)


LESSONS = {
    "atrium-mean_teacher": atrium("mean_teacher"),
    "atrium-cfr": atrium("cfr", finetune(_WIDE), 45.0),
    "organs-vnet": Lesson("organs", "vnet", 20000, 7, (*_SMALL, *TUNED)),
    "atrium-vnet": atrium("vnet"),
    "atrium-bcp": atrium("bcp"),
    "organs-cfr": Lesson("organs", "cfr", 20000, 7, (*_SMALL, *TUNED, *_TUNED_SAM), rest=45.0),
}
CUT = "cut short: the learning rate had not come down"
PRETRAIN = PretrainConfig(seed=1, pixels=500_000, lr=1.5e-3)


def learn(job: Job) -> None:
    """One lesson: as many steps as were asked for, fewer if time runs out, then masks and scores of
    the test scans.
    """
    lesson = LESSONS[job.name]
    prepared = Prepared.open(job.data[lesson.data])
    steps = job.steps or lesson.steps
    settings = lesson.settings
    if job.toy:
        steps, settings = 3, (*map(_small, settings), "filters=4")
    request = TrainRequest(
        prepared.folder,
        job.out / "runs" / job.name,
        lesson.method,
        volumes=1 if job.toy else lesson.volumes,
        in_order=True,
        steps=steps,
        settings=settings,
        device=job.device,
        threads=1 if job.toy else 2,
        save_minutes=0.5,
        compile=job.compile,
    )
    start, stamps = time.time(), Stamps(job, lesson.rest)
    cut = ""
    try:
        request = _train(job, request, stamps)
    except Interrupted as error:
        stamps.done = finish(request.out, error)
        cut = CUT
    learned = time.time() - start
    stride = None if job.toy else lesson.stride
    predictor = Predictor.load(request.out, job.device).with_windows(stride, batch=8)
    begun = time.time()
    found = score_run(request.out, predictor=predictor)
    paper = []
    if lesson.protocol:
        paper = protocol_lines(request.out, None, None, lesson.protocol, prepared.split.test)
    run = finished_run(request.out)
    run = replace(run, steps=stamps.done, stride=",".join(map(str, stride or ())))
    rows = as_rows(run, "test", found.scores, paper, prepared.patients)
    add_rows(job.out / f"{lesson.data}.csv", rows)
    job.tell(
        what=lesson.method,
        data=lesson.data,
        compiled=request.compile,
        steps=stamps.done,
        asked=steps,
        papers=lesson.steps,
        cut=cut,
        learned_s=round(learned, 1),
        step_ms=stamps.step_ms,
        first_step_s=stamps.first,
        scored_s=round(time.time() - begun, 1),
        **_means(found.scores, paper),
    )


def learn_liver(job: Job) -> None:
    """Five outlined slices and one minute, the probing of the machine included in neither; then
    masks and scores of the test scans. On phantoms where no prepared CTs are given.
    """
    given = job.data.get("liver")
    prepared = phantoms(job.out, job.toy) if given is None else Prepared.open(given)
    settings = () if _has_imagenet() else ("weights=none",)
    stamps, start = Stamps(job, 10.0), time.time()
    request = TrainRequest(
        prepared.folder,
        job.out / "runs" / "liver",
        "lite_unet",
        slices=5,
        minutes=None if job.toy else 1.0,
        steps=3 if job.toy else None,
        settings=settings,
        device=job.device,
        threads=1 if job.toy else None,
        amp="off" if job.toy else "auto",
    )
    train(request, stamps)
    learned, begun = time.time() - start, time.time()
    found = score_run(request.out, predictor=Predictor.load(request.out, job.device))
    record = RunFolder(request.out).read_record()
    job.tell(
        what="liver in a minute",
        data="phantoms" if given is None else "given",
        start="random" if settings else "ImageNet",
        precision=record.precision,
        steps=stamps.done,
        from_command_to_weights_s=round(learned, 1),
        step_ms=stamps.step_ms,
        first_step_s=stamps.first,
        scored_s=round(time.time() - begun, 1),
        **_means([score for score in found.scores if score.label == _liver(prepared)], []),
    )


def _liver(prepared: Prepared) -> str:
    """The structure that is scored: the first if none is called so."""
    return "liver" if "liver" in prepared.classes else prepared.classes[0]


def _has_imagenet() -> bool:
    """Are the weights here that the encoder starts from?"""
    try:
        locate(OWN["lite0"])
    except BadCheckpoint:
        return False
    return True


def _train(job: Job, request: TrainRequest, stamps: "Stamps") -> TrainRequest:
    """Train; if compiling fails go on without, which is no other run. Says which it was."""
    try:
        train(request, stamps)
    except Interrupted:
        raise
    except Exception:
        if not request.compile:
            raise
        (job.out / "rows" / f"{job.name}-compiled.error.txt").write_text(traceback.format_exc())
        request = replace(request, compile=False)
        train(request, stamps)
    return request


def _small(setting: str) -> str:
    name, _, value = setting.partition("=")
    if name.endswith("patch"):
        return f"{name}=[{','.join(map(str, TINY))}]"
    return f"{name}=64" if name.endswith("canvas") else f"{name}={value}"


class Stamps:
    """Looks at the clock and asks the training to save and stop when its time is over."""

    def __init__(self, job: Job, rest: float) -> None:
        """`rest` seconds are kept for what follows."""
        self._job, self._rest = job, rest
        self._start = time.time()
        self.first, self.done, self.step_ms = 0.0, 0, 0.0

    def __call__(self, progress: ProgressEvent) -> bool:
        """As training tells it: shall it stop?"""
        if progress.losses:
            self.first = self.first or round(time.time() - self._start, 1)
            self.done, self.step_ms = progress.done, round(1000 * progress.seconds_each, 2)
        return self._job.left < self._rest


def finish(out: Path, error: Interrupted) -> int:
    """Make the last state of a training that was cut short its result; its step. Raises `error` if
    an earlier stage was cut.
    """
    run = RunFolder(out)
    if not run.exists:
        raise error
    step, weights = _last_weights(run, error)
    save_tensors(run.weights, weights)
    return step


def _last_weights(folder: States, error: Interrupted) -> tuple[int, dict[str, Tensor]]:
    """Step and weights of the last state. Raises `error` if there is none."""
    checkpoint = folder.latest()
    if checkpoint is None:
        raise error
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("model.")
    }
    return checkpoint.step, weights


def _means(scores: list[CaseScore], paper: list[dict[str, Any]]) -> dict[str, Any]:
    """Over scans and structures, ours and the papers'."""
    automatic = [score for score in scores if score.prompts == "automatic"]
    row: dict[str, Any] = {"n": len(automatic)}
    for name in ("dice", "nsd", "hd95_mm", "assd_mm"):
        values = [value for score in automatic if (value := getattr(score, name)) is not None]
        row[name] = round(mean(values), 4) if values else None
    for name in ("dice", "jaccard", "hd95_voxel", "asd_voxel") if paper else ():
        row[f"la_2018_{name}"] = round(mean(line[name] for line in paper), 4)
    return row


# --- Pre-training ---


def teach_sam(job: Job) -> None:
    """Pre-train the compact SAM as long as there is time; the same held-out scenes for it and for
    the bundled weights.
    """
    config = replace(PRETRAIN, pixels=65_536, steps=2, targets=2) if job.toy else PRETRAIN
    job.tell(what="bundled", **held_out(job, locate("compact")))
    steps = job.steps or (2 if job.toy else _steps_that_fit(job, config))
    config = replace(config, steps=steps)
    out, stamps, start = job.out / "runs" / job.name, Stamps(job, 15.0), time.time()
    cut = ""
    try:
        pretrain(
            config, out, device=job.device, score_every=1000, save_minutes=0.5, on_progress=stamps
        )
    except Interrupted as error:
        stamps.done = _finish_sam(out, error)
        cut = CUT
    learned = time.time() - start
    places = range(stamps.done)
    seen = sum(count_images(config, Step(index, config.steps, config.seed)) for index in places)
    scores = held_out(job, out / "weights.safetensors")
    job.tell(
        what="trained",
        **asdict(config),
        done=stamps.done,
        cut=cut,
        learned_s=round(learned, 1),
        step_ms=stamps.step_ms,
        images=seen,
        images_per_s=round(seen / max(1e-9, learned), 1),
        step_images=round(seen / max(1, stamps.done), 1),
        **scores,
    )


def held_out(job: Job, weights: Path) -> dict[str, float]:
    """Scores of these weights of the compact SAM on scenes no training step draws, float32."""
    sam = build_sam(size_named("compact")).to(job.place)
    tensors = {name: tensor.float() for name, tensor in load_tensors(weights).items()}
    fit_into(sam, tensors, weights)
    scores = score_held_out(sam, job.place, False)
    return {name: round(value, 4) for name, value in scores.items()}


def _steps_that_fit(job: Job, config: PretrainConfig, seconds: float = 12.0) -> int:
    """Timed on a throw-away run."""
    stamps = Stamps(replace(job, until=time.time() + seconds + 15.0), 15.0)
    with contextlib.suppress(Interrupted):
        pretrain(
            config, job.out / "runs" / f"{job.name}-timed", device=job.device, on_progress=stamps
        )
    return max(100, int(0.9 * (job.left - 20) / (stamps.step_ms / 1000)))


def _finish_sam(out: Path, error: Interrupted) -> int:
    step, weights = _last_weights(States(out), error)
    half = {name: tensor.half() for name, tensor in weights.items()}
    save_tensors(out / "weights.safetensors", half)
    return step

"""From a request to a finished run folder: plan the stages, claim or resume each folder, measure
what only the machine can tell, hand over to the loop.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from fewmask.blocks.device import choose_device
from fewmask.blocks.memory import channels_last, memory_in_words
from fewmask.core.batch import Batch, BatchSpec, Step, Task
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.core.progress import OnProgress, Pace, ProgressEvent, ignore_progress
from fewmask.core.randomness import seed_of
from fewmask.core.renamed import renaming_note
from fewmask.core.run_record import RunRecord, plain_settings
from fewmask.core.volume import Volume
from fewmask.data import open_loader
from fewmask.data.loader import Ahead, Loader
from fewmask.data.slices import SliceLoader
from fewmask.io.atomic import make_folder
from fewmask.io.lock import folder_lock
from fewmask.io.outputs import check_folder
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.weights import load_into, save_tensors
from fewmask.methods import build, config_from, find_method, is_external
from fewmask.methods._method import HasSam, Method, Stage
from fewmask.predict import Predictor, Predicts, load_predictor
from fewmask.predict.work import load_prepared
from fewmask.training.advice import advise, largest_size
from fewmask.training.batch_norm import renew_norms
from fewmask.training.budget import draw_budget, tell_all
from fewmask.training.cleanup import learn_cleanup
from fewmask.training.external import describe_external, plan_steps, train_external
from fewmask.training.hardware import (
    choose_half,
    compile_networks,
    describe,
    halves,
    mean_step,
)
from fewmask.training.jobs import MethodJob
from fewmask.training.labelling import choose_scans, label_scans, seconds_to_label
from fewmask.training.log import Watched, check_log, open_log
from fewmask.training.loop import Loop, SaveClock, take_step
from fewmask.training.pretrained import find_weights, load_pretrained, recall_embeddings
from fewmask.training.request import TrainRequest
from fewmask.training.stages import (
    check_plan,
    copy_training,
    find_twin,
    folders_of,
    online_labels,
    plan_stages,
)
from fewmask.training.together import ALONE, Team, check_together, team

_DEFAULT_MINUTES = 10.0
_TRIAL = 1000
"""Steps of the pretended run on which a step is timed."""
_PLACES = 3
"""Where steps are timed on a grid that is only proposed."""
_GPU_AHEAD = 4
"""Most batches made ahead for a GPU, each in a thread."""


def train(request: TrainRequest, on_progress: OnProgress = ignore_progress) -> Path:
    """Train, or resume an unfinished run in `request.out`; returns the run folder's path.

    `on_progress` is called after each step (on a GPU: twice a second) and each scan; where it
    returns True, training saves and stops with `Interrupted`, and the same request resumes later.

    Started by `torchrun`, the processes share every batch, and the first one writes.

    Raises `BadConfig` when the run folder was made from another request (C06) or lies in the
    dataset (F11), and for what several processes cannot make (C02), `Interrupted` after a signal
    (everything is saved), `TrainingFailed` when a loss is not a number (F17), `NoRoom` for the
    machine's limits.
    """
    with team() as crew:
        return _train(replace(request, device=crew.device(request.device)), on_progress, crew)


def _train(request: TrainRequest, on_progress: OnProgress, crew: Team) -> Path:
    crew.check_alike(request)
    prepared = Prepared.open(request.prepared)
    check_folder(request.out, prepared.inputs)
    if request.embeddings is not None:
        check_folder(request.embeddings, prepared.inputs, name="embeddings")
    check_log(request.log, is_external(request.method))
    if crew.place:
        on_progress = ignore_progress
    elif not RunFolder(request.out).exists:
        RunFolder(request.out).check_unused(folders_of(plan_stages(request)))
    if request.threads:
        torch.set_num_threads(request.threads)
    device = choose_device(request.device)
    if device.index is not None:
        torch.cuda.set_device(device)  # sums over processes go by the current one
    budget = draw_budget(request, prepared)
    plan = plan_stages(request)
    check_plan(plan, prepared, budget)
    session = Session(request, prepared, budget, device, plan, on_progress, crew)
    with memory_in_words(device, "the last save is whole", MethodJob.memory_advice):
        if crew.place:
            return session.help()
        if not RunFolder(request.out).weights.exists():
            for stage in plan[:-1]:
                session.train_stage(stage)
        return session.train_stage(plan[-1])


def probe_precision(request: TrainRequest) -> bool:
    """Would a run of this request compute in 16 bits? Measured on a throw-away copy."""
    if request.threads:
        torch.set_num_threads(request.threads)
    prepared, device = Prepared.open(request.prepared), choose_device(request.device)
    stage = plan_stages(request)[0]
    session = Session(
        request, prepared, draw_budget(request, prepared), device, (stage,), ignore_progress
    )
    return session.probe(stage)


def build_method(record: RunRecord) -> Method:
    """A fresh method, the same for the same seed."""
    torch.manual_seed(seed_of(record.seed, "init") % 2**63)
    method = build(record.method, config_from(record.method, record.config), record.task)
    return channels_last(method)


@dataclass(frozen=True)
class Session:
    """What all trainings of one request share."""

    request: TrainRequest
    prepared: Prepared
    budget: Budget
    device: torch.device
    plan: tuple[Stage, ...]
    on_progress: OnProgress
    crew: Team = ALONE

    def help(self) -> Path:
        """Take part in the training that the first process begins, if it does; the run folder."""
        record = self.crew.hear()
        if record is not None:
            run, method = RunFolder(self.request.out), build_method(record)
            if not run.exists or run.read_record().differences(record):
                self.crew.check_same(-1)
            with self._open(self.plan[-1], method.batch_spec) as loader:
                loop, resumed = self._begin(run, self.plan[-1], record, method, loader)
                loop.run(resumed)
        return self.request.out

    def train_stage(self, stage: Stage) -> Path:
        """One training of a method (most have no other), if it is not finished; its run folder."""
        out = self.request.out / stage.name
        run, record = RunFolder(out), self._record(stage)
        self._check_masks(stage, record)
        check_together(self.crew, self.request, self.plan, record)
        make_folder(out)
        with folder_lock(out, "train") as died:
            settle = self._resume if run.exists else self._create
            record = settle(run, stage, record)
            if not run.weights.exists():
                if not self._is_reused(run, stage, record):
                    if not is_external(stage.method):
                        run.check_not_lost(self._has_gone_on(stage))
                    self._fit(run, stage, record, died)
            elif not stage.name and not run.cleanup.exists():  # a run of an earlier version
                self._learn_cleanup(run, stage, load_predictor(out, str(self.device)))
            if stage.pseudo_labels_to:
                label_scans(
                    self.request.out,
                    stage,
                    self.prepared,
                    self.budget,
                    self.device,
                    self.on_progress,
                )
        return out

    def _has_gone_on(self, stage: Stage) -> bool:
        """Was a stage after this one begun, or labels for it?"""
        out, later = self.request.out, self.plan[self.plan.index(stage) + 1 :]
        labelled = bool(stage.pseudo_labels_to) and (out / stage.pseudo_labels_to).exists()
        return labelled or any(RunFolder(out / one.name).exists for one in later)

    def _record(self, stage: Stage) -> RunRecord:
        """Everything that is known before anything is measured on the machine."""
        request, prepared = self.request, self.prepared
        recipe = prepared.recipe
        return RunRecord(
            method=stage.method,
            config=plain_settings(stage.config),
            task=Task(prepared.classes, recipe.size, recipe.modality, recipe.spacing_mm),
            seed=request.seed,
            steps=self._steps(stage) or 0,
            steps_share=stage.steps_share,
            minutes=self._minutes(stage),
            pretrained=find_weights(asdict(stage.config)),
            prepared=str(request.prepared.resolve()),
            data_digest=prepared.digest,
            labels=prepared.options["labels"],
            scans={case: row.voxels_sha256 for case, row in prepared.cases.items()},
            in_order=request.in_order,
        )

    def _steps(self, stage: Stage) -> int | None:
        """What the stage gets of the run's steps."""
        steps = self.request.steps
        return None if steps is None else max(1, round(steps * stage.steps_share))

    def _minutes(self, stage: Stage) -> float | None:
        """What the stage gets of the run's minutes."""
        return None if self.request.minutes is None else self.request.minutes * stage.share

    def _check_masks(self, stage: Stage, record: RunRecord) -> None:
        if self.budget.masks:
            return
        if is_external(stage.method) or build_method(record).batch_spec.labelled:
            raise BadConfig(
                f"{self.request.method} learns from outlined slices, and the budget grants none",
                fix="use `slices=1` or more",
                code="C02",
            )

    def _resume(self, run: RunFolder, stage: Stage, asked: RunRecord) -> RunRecord:
        """The saved record, if the request asks for the same run; what it leaves to the machine may
        be anything.
        """
        saved, request = run.read_record(), self.request
        bf16, fp16 = saved.bf16, saved.fp16
        if not is_external(stage.method) and request.amp != "auto":
            bf16, fp16 = request.amp == "on" and not fp16, request.amp == "on" and fp16
        asked = replace(
            asked,
            steps=saved.steps if request.steps is None else asked.steps,
            minutes=saved.minutes if request.minutes is None else asked.minutes,
            bf16=bf16,
            fp16=fp16,
            provided=saved.provided,
        )
        # Settings that came later are what they were without them: their defaults.
        config = plain_settings(config_from(saved.method, saved.config))
        differences = replace(saved, config=config).differences(asked)
        if run.read_budget() != self.budget:
            differences.append("budget: other masks than before")
        if differences:
            raise BadConfig(
                "the run folder was made from another request",
                where=[str(run.path), *differences[:8]],
                fix="use the first command again, or another `out`",
                code="C06",
            )
        return saved

    def _create(self, run: RunFolder, stage: Stage, asked: RunRecord) -> RunRecord:
        """Settle the rest of the record, and write all that the run is made of."""
        external = is_external(stage.method)
        record = (self._settle_external if external else self._settle)(stage, asked)
        run.create(
            record,
            self.prepared.recipe.as_dict(),
            self.prepared.split,
            self.budget,
            describe(self.device)
            | (describe_external() if external else {})
            | ({"processes": self.crew.members} if self.crew.members > 1 else {}),
            beside=folders_of(self.plan),
        )
        return record

    def _settle_external(self, stage: Stage, record: RunRecord) -> RunRecord:
        spec = BatchSpec(labelled=1)
        with open_loader(self.prepared, self.budget, spec, record.seed) as loader:
            return replace(
                record, steps=plan_steps(stage.config, self.request), provided=loader.report()
            )

    def probe(self, stage: Stage) -> bool:
        """Do 16 bits pay for this stage?"""
        record = replace(self._record(stage), steps=_TRIAL)
        method = build_method(record)
        with self._open(stage, method.batch_spec) as loader:
            job = self._job(stage, record, method, loader)
            job.rates = [0.0] * len(job.rates)
            return self._choose_half(job, job.batch(0))

    def _choose_half(self, job: MethodJob, batch: Batch) -> bool:
        """Do 16 bits pay? Leaves the job at what was chosen."""

        def choose(half: bool) -> None:
            job.bf16, job.fp16 = halves(self.device, half)

        def try_first(half: bool) -> None:
            choose(half)
            take_step(job, batch, Step(0, _TRIAL))

        half = choose_half(self.request.amp, self.device, try_first)
        choose(half)
        return half

    def _settle(self, stage: Stage, record: RunRecord) -> RunRecord:
        """Measure on a throw-away copy: do 16 bits pay, how many steps fit. Also adds what the
        budget cost a person.
        """
        method = build_method(record)
        with self._open(stage, method.batch_spec) as loader:
            job = self._job(stage, replace(record, steps=_TRIAL), method, loader)
            job.rates = [0.0] * len(job.rates)
            half = self._choose_half(job, job.batch(0))

            def try_step(index: int) -> None:
                take_step(job, job.batch(index), Step(index, _TRIAL))

            bf16, fp16 = halves(self.device, half)
            record = replace(record, bf16=bf16, fp16=fp16, provided=loader.report())
            steps, advice = self._plan_steps(stage, record, method, try_step)
            return replace(record, steps=steps, advice=advice)

    def _plan_steps(
        self, stage: Stage, record: RunRecord, method: Method, try_step: Callable[[int], None]
    ) -> tuple[int, str]:
        """How many steps the stage gets, and what to say if they are too few."""
        least = find_method(stage.method).least_steps
        if record.steps:
            return record.steps, advise(stage, record.steps, least)
        minutes = record.minutes
        if minutes is None:
            minutes = _DEFAULT_MINUTES * stage.share
        seconds, left = mean_step(try_step, _TRIAL), 60 * minutes
        if stage.labels_all:
            cases = choose_scans(stage, self.prepared, self.budget, record.seed)
            spent = seconds_to_label(self._predictor(method, record), self.prepared, cases)
            left -= min(spent, left / 2)  # a run that hardly learns would be no use to anyone
        steps, fits = max(1, round(left / seconds)), None
        if steps < least and method.batch_spec.patch is None:

            def count_steps(size: int) -> int:
                return round(60 * minutes / self._time_step(stage, record, size))

            with suppress(FewmaskError):  # whatever a smaller grid lacks, this one trains
                fits = largest_size(record.task.size, steps / least, count_steps, least)
        return steps, advise(stage, steps, least, minutes, seconds, fits)

    def _time_step(self, stage: Stage, record: RunRecord, size: int) -> float:
        """Seconds of a step on slices of `size` x `size` pixels that cover as much."""
        recipe = self.prepared.recipe
        spacing = recipe.spacing_mm * recipe.size / size
        smaller = replace(recipe, size=size, spacing_mm=spacing)
        session = replace(self, prepared=replace(self.prepared, recipe=smaller))
        task = replace(record.task, size=size, spacing_mm=spacing)
        record = replace(record, task=task, steps=_TRIAL)
        method = build_method(record)
        with session._open(stage, method.batch_spec) as loader:
            job = session._job(stage, record, method, loader)
            job.rates = [0.0] * len(job.rates)

            def try_step(index: int) -> None:
                take_step(job, job.batch(index), Step(index, _TRIAL))

            return mean_step(try_step, _TRIAL, _PLACES)

    def _is_reused(self, run: RunFolder, stage: Stage, record: RunRecord) -> bool:
        """Take weights from another run that was trained in the same way, if there is one.

        Only of a first training: what a later one builds on is not all in its record.
        """
        others = self.request.reuse_from
        if others is None or stage is not self.plan[0] or is_external(stage.method):
            return False
        found = find_twin(run, others)
        if found is None:
            return False
        if not stage.name:  # anew: settings that matter when a scan is predicted may differ
            method = build_method(record)
            load_into(method, found.weights)
            self._learn_cleanup(run, stage, self._predictor(method, record))
        copy_training(found, run)
        what = f"{stage.name}: " if stage.name else ""
        self.on_progress(
            ProgressEvent(
                "step",
                record.steps,
                record.steps,
                saved_step=record.steps,
                note=f"{what}trained already, taken from {found.path}",
            )
        )
        return True

    def _fit(self, run: RunFolder, stage: Stage, record: RunRecord, died: str) -> None:
        """Train to the end, and write the weights; `died` is what to say of an earlier process."""
        if is_external(stage.method):
            train_external(
                run,
                record,
                self.prepared,
                self.budget,
                self.device,
                self.on_progress,
                lambda predictor: self._learn_cleanup(run, stage, predictor),
            )
            return
        with ExitStack() as after:
            method = self._learn(run, stage, record, died, after)
            # The others are through; what is left is little, and done by the one that writes.
            if isinstance(method, HasSam):
                method.sam.recall = None  # whole scans are asked about from here on
            predictor = self._predictor(method, record)
            if method.renew_norms:
                renew_norms(predictor, self._scans(record.steps))
            self._learn_cleanup(run, stage, predictor)
            save_tensors(run.weights, method.state_dict())
            if not self.request.keep_states:
                run.drop()

    def _learn(
        self, run: RunFolder, stage: Stage, record: RunRecord, died: str, after: ExitStack
    ) -> Method:
        """The steps. What is done `after` all, however it ends: the log is closed."""
        request, method = self.request, build_method(record)
        with self._open(stage, method.batch_spec) as loader:
            self.crew.tell(record)
            loop, resumed = self._begin(run, stage, record, method, loader)
            log = open_log(request.log, run, loop.done)
            after.push(lambda kind, error, trace: self._close(log, record, error))
            loop.on_progress = log.watching(self.on_progress, loop.job.optimiser)
            if not loop.done and stage.init_from:
                load_into(method, request.out / stage.init_from / run.weights.name)
            stream = "unlabelled" if method.batch_spec.unlabelled else "labelled"
            images = loader.views(stream) if isinstance(loader, SliceLoader) else 0
            kept = recall_embeddings(method, request, images, record.precision)
            renamed = renaming_note(request.method, request.settings)
            told = tell_all(request, self.budget)
            notes = (record.advice, told, died, resumed, renamed, kept, method.note)
            loop.run("; ".join(text for text in notes if text))
        return method

    def _close(self, log: Watched, record: RunRecord, error: BaseException | None) -> bool:
        """Close the log; `error` goes on."""
        failed, done = log.close(error), record.steps
        if failed and error is None:
            self.on_progress(ProgressEvent("step", done, done, saved_step=done, note=failed))
        return False

    def _begin(
        self, run: RunFolder, stage: Stage, record: RunRecord, method: Method, loader: Loader
    ) -> tuple[Loop, str]:
        """The loop where it goes on, or with the weights that it begins from; a note on it."""
        job = self._job(stage, record, method, loader)
        job.share = self.crew.share
        clock = SaveClock(self.request.save_minutes, self.request.save_steps)
        loop = Loop(job, run, clock, self.on_progress, self.crew)
        resumed = loop.resume()
        if not loop.done and record.pretrained is not None:
            load_pretrained(method, record.pretrained)
        return loop, resumed

    def _predictor(self, method: Method, record: RunRecord) -> Predictor:
        recipe, halved = self.prepared.recipe, {"bf16": record.bf16, "fp16": record.fp16}
        return Predictor(method, recipe, record.task, self.device, **halved)

    def _learn_cleanup(self, run: RunFolder, stage: Stage, predictor: Predicts) -> None:
        """Write the run's clean-up rule; an earlier stage has none. Before the weights, which say
        that the run is finished.
        """
        if not stage.name:
            learn_cleanup(run, predictor, self.prepared, self.budget, self.on_progress)

    def _scans(self, saved_step: int) -> Iterator[Volume]:
        """All scans of the training patients, told one by one."""
        cases = self.prepared.split.train
        pace = Pace("scan", len(cases))
        for done, case in enumerate(cases, 1):
            yield load_prepared(self.prepared, case)
            note = f"batch norms: {done} of {len(cases)} scans seen"
            self.on_progress(pace.event(done, item=case, saved_step=saved_step, note=note))

    def _job(self, stage: Stage, record: RunRecord, method: Method, loader: Loader) -> MethodJob:
        label = None
        if stage.online_teacher:
            label = online_labels(self.request.out, stage, self.device)
        if self.request.compile:
            compile_networks(method)
        # Patches have one shape, so trying cuDNN's algorithms once pays. Which is quickest may
        # differ from run to run, which must not be where the same bits are asked for.
        exact = torch.are_deterministic_algorithms_enabled()
        torch.backends.cudnn.benchmark = method.batch_spec.patch is not None and not exact
        return MethodJob(
            method,
            loader.batch,
            record.steps,
            record.seed,
            self.device,
            record.bf16,
            label,
            record.fp16,
        )

    def _open(self, stage: Stage, spec: BatchSpec) -> Loader:
        """The loader of a stage, with the pseudo-labels that an earlier one left. Raises
        `BadConfig` if it wants some and none did.
        """
        if spec.pseudo != "off" and not (stage.pseudo_labels_from or stage.online_teacher):
            raise BadConfig(
                f"pseudo_weight wants labels that an earlier training left, and {stage.method} is "
                "the first here",
                did="nothing was trained",
                fix="leave pseudo_weight out",
                code="C02",
            )
        folder = self.request.out / stage.pseudo_labels_from if stage.pseudo_labels_from else None
        trust = getattr(stage.config, "trust", 0.0)
        seed, ahead = self.request.seed, _ahead(self.device, self.request.workers)
        out = self.request.out / stage.name
        spill = out if out.is_dir() else None
        return open_loader(self.prepared, self.budget, spec, seed, folder, trust, ahead, spill)


def _ahead(device: torch.device, workers: int | None) -> Ahead:
    """On a CPU one batch ahead, since training wants the cores; a GPU leaves them free, and
    augments by itself.
    """
    if device.type != "cuda":
        return Ahead(workers or 1)
    workers = workers or max(1, min(_GPU_AHEAD, (os.cpu_count() or 1) - 1))
    return Ahead(workers, pin=True, defer=True)

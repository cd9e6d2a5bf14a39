"""A training's losses, learning rate and pace in the log of another program: TensorBoard or MLflow.

The log lies in the run folder (`log/`), and nothing is sent anywhere unless an address is given. It
is a copy for looking at: a log that fails never ends a training.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from fewmask.core.errors import BadConfig, FewmaskError, Interrupted
from fewmask.core.names import without_paths
from fewmask.core.progress import OnProgress, ProgressEvent
from fewmask.core.run_record import RunRecord
from fewmask.io.atomic import make_folder
from fewmask.io.extra import need
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json, write_json

FOLDER = "log"
_RECORD = "log.json"
_MOST = 2000
"""About as many steps are logged, as in losses.csv."""
_KINDS = ("tensorboard", "mlflow")


Ending = Literal["finished", "stopped", "failed"]
"""How a training ended; one that was stopped can be gone on with."""


@runtime_checkable
class Log(Protocol):
    """What a program's log can do; steps count from 0."""

    def settings(self, settings: Mapping[str, str | float]) -> None:
        """Settings of the run, once."""

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step; steps that the log holds already are passed over."""

    def scores(self, step: int, numbers: Mapping[str, float]) -> None:
        """Scores after the last step."""

    def close(self, how: Ending = "finished") -> None:
        """Everything is written, and the training ended so."""


def check_log(asked: str | None, external: bool = False) -> None:
    """Raise `BadConfig` (C02) for a log that is not known or whose package is missing, and for one
    of a method that is an `external` program.
    """
    if asked is None:
        return
    if external:
        raise BadConfig(
            "a program that is not ours keeps its own log",
            fix="leave `log` out",
            code="C02",
        )
    kind, _, address = asked.partition("=")
    if kind not in _KINDS or (address and (kind != "mlflow" or "://" not in address)):
        raise BadConfig(
            f"there is no log {asked!r}",
            fix="use `log=tensorboard`, `log=mlflow` or `log=mlflow=http://HOST:PORT`",
            code="C02",
        )
    if find_spec(kind) is None:
        need(kind, kind, f"`log={kind}`")


def open_log(asked: str | None, run: RunFolder, resumed: int) -> "Watched":
    """The log of a run, gone on with if `resumed` steps are done. Without one asked for, one that
    does nothing.
    """
    if asked is None:
        return Watched(None, run)
    kind, _, address = asked.partition("=")
    if kind == "mlflow":
        address = address or os.environ.get("MLFLOW_TRACKING_URI", "")
    return Watched(lambda: _open(run.path, kind, address, resumed), run)


def _open(run: Path, kind: str, address: str, resumed: int) -> Log:
    make_folder(run / FOLDER)
    place = run / FOLDER / _RECORD
    known = read_json(place) if place.exists() else {}
    if known.get("kind") != kind or known.get("address", "") != address:
        known = {"kind": kind, "address": address}
    log, known = _opener(kind)(run, known, resumed)
    write_json(place, known)
    return log


def _opener(kind: str) -> Callable[[Path, dict[str, Any], int], tuple[Log, dict[str, Any]]]:
    if kind == "mlflow":
        from fewmask.training.log_mlflow import open_mlflow

        return open_mlflow
    from fewmask.training.log_tensorboard import open_tensorboard

    return open_tensorboard


class Watched:
    """Progress that is also logged. Whatever a log raises is told once, and ends the log alone."""

    def __init__(self, opened: Callable[[], Log] | None, run: RunFolder) -> None:
        self._log: Log | None = None
        self._note = ""
        self._run = run
        if opened is not None:
            self._try(lambda: self._begin(opened()))

    def _begin(self, log: Log) -> None:
        self._log = log
        log.settings(settings_of(self._run.read_record()))

    def watching(self, on_progress: OnProgress, optimiser: torch.optim.Optimizer) -> OnProgress:
        """The same callback, with every event logged first."""

        def see(event: ProgressEvent) -> bool | None:
            if event.unit == "step" and event.losses:
                self._try(lambda: self._step(event, float(optimiser.param_groups[0]["lr"])))
            if self._note:
                event = replace(event, note="; ".join(filter(None, (event.note, self._note))))
                self._note = ""
            return on_progress(event)

        return see

    def _step(self, event: ProgressEvent, rate: float) -> None:
        if self._log is None:
            return
        step, every = event.done - 1, max(1, event.total // _MOST)
        if step % every and event.done < event.total:
            return
        losses = {f"loss/{name}": value for name, value in event.losses.items()}
        total = {"total_loss": sum(event.losses.values())}
        pace = {"learning_rate": rate, "seconds_per_step": event.seconds_each}
        self._log.step(step, total | losses | pace)

    def close(self, error: BaseException | None = None) -> str:
        """The log is whole; a warning that was not told yet. `error` is what ended the training."""
        log = self._log
        if log is not None:
            self._try(lambda: log.close(_ending(error)))
        return self._note

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever a foreign program raises: the training goes on
            what = error.what if isinstance(error, FewmaskError) else f"{error}".splitlines()[:1]
            words = what if isinstance(what, str) else "".join(what)
            self._note = f"the log failed and is left out from here on: {words[:200]}"
            self._log = None


def _ending(error: BaseException | None) -> Ending:
    if error is None:
        return "finished"
    return "stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"


def settings_of(record: RunRecord) -> dict[str, str | float]:
    """What a run was made of, flat, without paths and names of cases."""
    budget = {
        key: value for key, value in asdict(record.provided).items() if key.endswith("slices")
    }
    flat: dict[str, str | float] = {
        "method": record.method,
        "steps": record.steps,
        "seed": record.seed,
        "precision": record.precision,
        "classes": ", ".join(record.task.classes),
        "size": record.task.size,
    }
    flat |= {key: value for key, value in budget.items() if key != "slices"}
    for key, value in without_paths(record.config).items():
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        flat[f"config.{key}"] = value if numeric else str(value)
    return flat


def log_scores(run: Path, numbers: Mapping[str, float]) -> str:
    """Add scores to the log of a run, if it has one; a warning if that failed."""
    place = run / FOLDER / _RECORD
    if not place.exists() or not numbers:
        return ""
    steps = RunFolder.open(run).read_record().steps
    try:
        known = read_json(place)
        log, _ = _opener(str(known["kind"]))(run, known, steps)
        log.scores(steps, numbers)
        log.close()
    except Exception as error:  # as in `Watched`
        return f"the log of {run} has no scores: {str(error).splitlines()[:1]}"
    return ""

"""The log of a training in MLflow: a file store in the run folder, or a server whose address was
given.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.io.extra import need

_EXPERIMENT = "fewmask"
_SEND_SECONDS = 5.0
"""Steps are sent together: a server would slow a training down step by step."""
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
"""What MLflow calls it."""
_LONGEST = 500
"""Most characters of a parameter that every version of MLflow takes."""


class MlflowLog:
    """A run of MLflow; steps that it holds are not sent again."""

    def __init__(self, client: Any, run_id: str, is_new: bool) -> None:
        self._client, self._run_id, self._is_new = client, run_id, is_new
        held = [] if is_new else client.get_metric_history(run_id, "total_loss")
        self._last = max((metric.step for metric in held), default=-1)
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def settings(self, settings: Mapping[str, str | float]) -> None:
        """As parameters; once."""
        if not self._is_new:
            return
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_LONGEST]) for key, value in settings.items()]
        self._client.log_batch(self._run_id, params=params)

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Metrics, sent every few seconds."""
        if step <= self._last:
            return
        self._last = step
        self._add(step, numbers)
        if time.monotonic() - self._sent > _SEND_SECONDS or len(self._waiting) > _LONGEST:
            self._send()

    def scores(self, step: int, numbers: Mapping[str, float]) -> None:
        """Metrics."""
        self._add(step, numbers)

    def close(self, how: str = "finished") -> None:
        """Send the rest, and how the run ended."""
        self._send()
        self._client.set_terminated(self._run_id, _STATUS[how])

    def _add(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._waiting += [Metric(name, value, now, step) for name, value in numbers.items()]

    def _send(self) -> None:
        for begin in range(0, len(self._waiting), _LONGEST):
            self._client.log_batch(self._run_id, self._waiting[begin : begin + _LONGEST])
        self._waiting.clear()
        self._sent = time.monotonic()


def open_mlflow(run: Path, known: dict[str, Any], resumed: int) -> tuple[MlflowLog, dict[str, Any]]:
    """The run's run in MLflow, a new one if it has none; `known` gets its id."""
    # It reports its use to its makers unless told not to.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    # A server that is gone would hold a training up for minutes: twice 3 seconds, unless somebody
    # said otherwise.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    need("mlflow", "mlflow", "`log=mlflow`")
    from mlflow import MlflowClient

    address = known.get("address") or (run / "log" / "mlruns").resolve().as_uri()
    client = MlflowClient(tracking_uri=address)
    run_id = known.get("run_id")
    if run_id:
        client.update_run(run_id, "RUNNING")
        return MlflowLog(client, run_id, False), known
    found = client.get_experiment_by_name(_EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(_EXPERIMENT)
    made = client.create_run(experiment, run_name=run.resolve().name)
    return MlflowLog(client, made.info.run_id, True), known | {"run_id": made.info.run_id}

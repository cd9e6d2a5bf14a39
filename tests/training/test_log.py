"""Logs of other programs, read back with their own readers."""

import os
import socket
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fewmask.benchmark.score import score_run
from fewmask.core.errors import BadConfig, Interrupted
from fewmask.core.progress import ProgressEvent
from fewmask.io.run import RunFolder
from fewmask.training import TrainRequest, log, train
from tests.scans import prepare_scans

KINDS = ("tensorboard", "mlflow")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare_scans(tmp_path_factory.mktemp("log")).folder


@pytest.fixture
def offline(monkeypatch) -> None:
    """No socket leads anywhere."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def request(prepared: Path, out: Path, kind: str | None) -> TrainRequest:
    return TrainRequest(
        prepared, out, "unet", slices=3, steps=6, amp="off", device="cpu", save_steps=2, log=kind,
        settings=("channels=[4,4]", "labelled=2"),
    )  # fmt: skip


def read(run: Path, kind: str) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """Metrics as (step, value), and settings."""
    if kind == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(run / "log" / "tensorboard")).Reload()
        scalars = {
            name: [(event.step, event.value) for event in found.Scalars(name)]
            for name in found.Tags()["scalars"]
        }
        plugin = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        given = HParamsPluginData.FromString(plugin).session_start_info.hparams
        kinds = {key: one.string_value or str(one.number_value) for key, one in given.items()}
        return scalars, kinds
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(run / "log" / "mlruns").as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "fewmask"]
    (found,) = client.search_runs([experiment.experiment_id])
    metrics = {
        name: [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    return metrics, found.data.params


def ended(run: Path) -> str:
    """What MLflow calls the only run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(run / "log" / "mlruns").as_uri())
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return str(found.info.status)


def reaches(stop: int, event: ProgressEvent) -> bool:
    return event.done == stop


def values(logged: list[tuple[int, float]]) -> list[float]:
    return [value for _, value in logged]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_twice_has_every_step_once_and_its_settings(
    prepared, tmp_path, offline, kind
) -> None:
    run = tmp_path / "run"
    asked = request(prepared, run, kind)
    for stop in (3, 5):
        with pytest.raises(Interrupted):
            train(asked, partial(reaches, stop))
        assert kind != "mlflow" or ended(run) == "KILLED"
        if stop == 3:
            RunFolder(run).drop()  # killed before the first save: from the beginning
    (run / "state-00000005.json").unlink()  # killed before it was whole: step 5 is done again
    train(asked)
    assert kind != "mlflow" or ended(run) == "FINISHED"
    metrics, settings = read(run, kind)
    rows = RunFolder(run).read_losses(99)
    for name in ("ce", "dice"):
        logged = metrics[f"loss/{name}"]
        assert [step for step, _ in logged] == [int(row["step"]) for row in rows] == list(range(6))
        assert values(logged) == pytest.approx([float(row[name]) for row in rows])
    total = [float(row["ce"]) + float(row["dice"]) for row in rows]
    assert values(metrics["total_loss"]) == pytest.approx(total)
    rates = values(metrics["learning_rate"])
    assert [step for step, _ in metrics["learning_rate"]] == list(range(6))
    assert rates[0] < rates[1] <= 1e-3  # warm-up
    assert len(metrics["seconds_per_step"]) == 6
    assert settings["method"] == "unet" and settings["config.channels"] == "[4, 4]"
    assert float(settings["config.labelled"]) == 2 and float(settings["steps"]) == 6
    assert not any(str(tmp_path) in value or "case_" in value for value in settings.values())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_follow(prepared, tmp_path, offline, kind) -> None:
    run = train(request(prepared, tmp_path / "run", kind))
    scores = score_run(run).scores
    metrics, _ = read(run, kind)
    mean = sum(score.dice for score in scores) / len(scores)
    assert kind != "mlflow" or ended(run) == "FINISHED"
    ((step, dice),) = metrics["dice/liver/cleaned"]
    assert step == 6 and dice == pytest.approx(mean) and len(scores) == 2


def test_no_log_unless_asked_for(prepared, tmp_path) -> None:
    run = train(request(prepared, tmp_path / "run", None))
    assert not (run / "log").exists() and log.log_scores(run, {"dice": 1.0}) == ""


@pytest.mark.parametrize("at", ["step", "settings", "close"])
def test_a_log_that_fails_is_told_once_and_ends_no_training(
    prepared, tmp_path, monkeypatch, at
) -> None:
    from fewmask.training.log_tensorboard import TensorBoardLog

    def fail(*_: object) -> None:
        raise OSError("no room in the log")

    monkeypatch.setattr(TensorBoardLog, at, fail)
    told: list[ProgressEvent] = []
    run = train(request(prepared, tmp_path / "run", "tensorboard"), told.append)
    assert RunFolder(run).weights.exists()
    notes = [event.note for event in told if "no room in the log" in event.note]
    assert len(notes) == 1


def test_an_address_is_asked_and_nothing_else(prepared, tmp_path, monkeypatch) -> None:
    """Nobody listens there: the training is not disturbed."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the package waits for two more
    told: list[ProgressEvent] = []
    asked = request(prepared, tmp_path / "run", "mlflow=http://127.0.0.1:9")
    run = train(asked, told.append)
    assert sum("the log failed" in event.note for event in told) == 1
    assert RunFolder(run).weights.exists() and not (run / "log" / "mlruns").exists()


@pytest.mark.parametrize(
    ("ends", "status"), [("a stop in the clean-up", "KILLED"), ("a failure", "FAILED")]
)
def test_mlflow_is_told_how_a_training_ended(prepared, tmp_path, offline, ends, status) -> None:
    def end(event: ProgressEvent) -> bool:
        if ends == "a failure" and event.done == 4:
            raise RuntimeError("the callback broke")
        return event.note.startswith("clean-up")

    with pytest.raises((Interrupted, RuntimeError)):
        train(replace(request(prepared, tmp_path / "run", "mlflow"), slices=6), end)
    assert ended(tmp_path / "run") == status


def test_a_server_that_never_answers_holds_nobody_up(tmp_path, monkeypatch) -> None:
    from fewmask.training.log_mlflow import open_mlflow

    names = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    open_mlflow(tmp_path / "run", {}, 0)
    seconds, retries = (int(os.environ[name]) for name in names)
    assert seconds * (1 + retries) <= 6
    monkeypatch.setenv(names[0], "77")
    open_mlflow(tmp_path / "other", {}, 0)
    assert os.environ[names[0]] == "77", "what a person says stands"


@pytest.mark.slow
def test_an_address_that_swallows_packets_costs_seconds(prepared, tmp_path, monkeypatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        told: list[ProgressEvent] = []
        begun = time.monotonic()
        train(request(prepared, tmp_path / "run", f"mlflow={address}"), told.append)
    assert sum("the log failed" in event.note for event in told) == 1
    assert time.monotonic() - begun < 30, "6 s of waiting, and a training"


@pytest.mark.parametrize("word", ["wandb", "tensorboard=here"])
def test_c02_other_logs_are_refused_before_training(prepared, tmp_path, word) -> None:
    with pytest.raises(BadConfig) as error:
        train(request(prepared, tmp_path / "run", word))
    assert error.value.code == "C02" and not (tmp_path / "run").exists()

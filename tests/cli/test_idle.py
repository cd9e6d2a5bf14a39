"""What is typed is used, or refused: no option is passed over in silence."""

import ast
import inspect
from pathlib import Path

import pytest

from fewmask.cli.app import app
from fewmask.core.errors import BadConfig
from tests.cli.test_verbs import fewmask

IDLE = {
    "check --out fixed": "--out",
    "check --compare . --out fixed": "--out",
    "check --compare . --write-series series.csv": "--write-series",
    "check --compare . --recipe ct": "--recipe",
    "check --compare . --copy-header case_00 --out fixed": "--copy-header, --out",
    "check --copy-header case_00 --out fixed --write-series s.csv": "--write-series",
    "evaluate --label liver=6": "--label",
    "evaluate --same-values": "--same-values",
    "evaluate --masks auto": "--masks",
    "evaluate --out scores.csv": "--out",
    "evaluate . --device cpu": "--device",
    "export --hub model --check .": "--check",
    "export --monai-bundle bundle --allow 1": "--allow",
    "export --onnx net.onnx --license mit": "--license",
    "predict . --out masks --slices-from 1": "--slices-from",
    "predict . --out masks --term liver=SCT:1:Liver": "--term",
    "train --out run --budget . --draw 1": "--draw",
    "train --out run --embeddings-gib 2": "--embeddings-gib",
}
ACTIONS = {
    "nnunet info --slices 2": "--slices",
    "nnunet setup --rest": "--rest",
    "weights list --name mine": "--name",
    "weights info sam-vit-b --name mine": "--name",
}


@pytest.mark.parametrize("words", [*IDLE, *ACTIONS])
def test_an_option_that_would_do_nothing_is_refused(tmp_path, monkeypatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    verb, *rest = words.split()
    error = fewmask(verb, *([] if words in ACTIONS else [tmp_path]), *rest).exception
    assert isinstance(error, BadConfig) and error.exit_code == 2, error
    idle = (IDLE | ACTIONS)[words]
    assert error.what.startswith(f"{idle} would do nothing here: ")
    assert error.fix == f"leave out {idle}" and not list(tmp_path.iterdir())


def test_every_parameter_of_a_verb_is_used_in_it() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        function = inspect.unwrap(command.callback)
        tree = ast.parse(Path(inspect.getfile(function)).read_text(encoding="utf-8"))
        (own,) = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__
        ]
        given = {one.arg for one in [*own.args.args, *own.args.kwonlyargs]}
        used = {node.id for one in own.body for node in ast.walk(one) if isinstance(node, ast.Name)}
        assert given - used <= {"context"}, own.name

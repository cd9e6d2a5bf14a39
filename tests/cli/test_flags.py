"""One error, two doors: Python names the keyword, the program its flag."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

from fewmask.cli import app
from fewmask.cli.flags import _Given, in_flags
from fewmask.cli.reading import _as_typed
from fewmask.core.errors import BadConfig
from fewmask.training import TrainRequest
from tests.source import trees

FLAG = re.compile(r"--[a-z]")


@pytest.mark.parametrize(
    ("keyword", "flag"),
    [
        ("use `slices=5` or `volumes`", "use --slices 5 or --volumes"),
        ("`in_order=True` is for volumes", "--in-order is for volumes"),
        ("`embeddings_gib=6`", "--embeddings-gib 6"),
        ("try `lr=0.001` and `finetune.lr=0.1`", "try --set lr=0.001 and --set finetune.lr=0.1"),
        ("`patch=(80,112,112)`", "--set 'patch=(80,112,112)'"),
        ("`spacing_mm=(0.8,0.8,5)`", "--spacing 0.8,0.8,5"),
        ("`assume_ras=True`, `keep_first=True`", "--assume RAS, --keep first"),
        ("ask for liver=6 with `labels`", "ask for liver=6 with --label"),
        ("`settings` 'lr'", "--set 'lr'"),
        ("`out=my masks`", "--out 'my masks'"),
        ("run `git lfs pull`, no datasets `image` and `label`", None),
        ("`fewmask check` with lr=3", None),
    ],
)
def test_settings_become_flags_and_all_else_stays(keyword: str, flag: str | None) -> None:
    assert in_flags(keyword) == (keyword if flag is None else flag)


def test_a_command_of_a_message_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder and the flags of reading in use, and quoted where it must be."""
    command = "do: `fewmask check DATA 'copy_header=case 1' out=fixed`"
    assert in_flags(command) == "do: fewmask check DATA --copy-header 'case 1' --out fixed"
    monkeypatch.setattr(_Given, "data", "'my scans'")
    monkeypatch.setattr(_Given, "reading", "--assume RAS --volume 1")
    assert in_flags(command) == (
        "do: fewmask check 'my scans' --copy-header 'case 1' --out fixed --assume RAS --volume 1"
    )
    assert in_flags("`fewmask report run`") == "`fewmask report run`"


def test_verbs_that_read_scans_take_the_same_flags_and_keep_them_in_mind() -> None:
    for verb in ("check", "prepare", "predict", "evaluate"):
        import_module(f"fewmask.cli.{verb}")
    commands = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]
    reading = {"--trust", "--assume", "--volume", "--spacing", "--fix-nonfinite", "--intensity"}
    reading |= {"--plane", "--series", "--keep", "--follow-links"}
    for verb in ("check", "prepare", "predict", "evaluate"):
        flags = {flag for option in commands[verb].params for flag in option.opts}
        assert reading <= flags, verb
    assert _as_typed({"assume": "RAS", "volume": 0, "spacing": "1 1 5", "follow_links": True}) == (
        "--assume RAS --volume 0 --spacing '1 1 5' --follow-links"
    )
    assert _as_typed({"trust": None, "volume": None, "fix_nonfinite": False}) == ""


def test_the_same_error_in_python_and_in_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadConfig) as caught:
        TrainRequest(tmp_path, tmp_path / "run", slices=1, minutes=1.0, steps=1)
    assert str(caught.value) == (
        "error: `minutes` and `steps` exclude each other   [C02]\nnothing was started\n"
        "fix: leave one out"
    )
    words = ["train", tmp_path, "--slices", 1, "--minutes", 1, "--steps", 1, "--out", tmp_path]
    monkeypatch.setattr("sys.argv", ["fewmask", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --minutes and --steps exclude each other   [C02]",
        "nothing was started",
        "fix: leave one out",
    ]


def messages(tree: ast.Module) -> list[tuple[int, str]]:
    """Texts that may reach a person: all but docstrings and single words of a command."""
    documents = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documents
        and not re.fullmatch(r"--[a-z-]+", node.value)
    ]


def test_no_message_below_the_command_line_holds_a_flag() -> None:
    found = [
        (path, line, text)
        for path, tree in trees().items()
        if "cli" not in Path(path).parts
        for line, text in messages(tree)
        if FLAG.search(text)
    ]
    assert found == []
    planted = ast.parse('def f():\n    """--out."""\n    raise E("x", fix=f"use --out {a}")')
    assert [FLAG.search(text) is not None for _, text in messages(planted)] == [False, True]

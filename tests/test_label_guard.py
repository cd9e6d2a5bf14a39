"""Rules that a reader would otherwise have to trust: what may be called where, what a fresh import
costs.
"""

import ast
import subprocess
import sys

import pytest

from tests.source import SOURCE, trees


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_torch_load_stands_in_one_file_with_weights_only() -> None:
    found = [
        (path, call)
        for path, tree in trees().items()
        for call in calls(tree)
        if name_of(call) == "torch.load"
    ]
    assert [path for path, _ in found] == ["io/weights.py"]
    keywords = {keyword.arg: keyword.value for keyword in found[0][1].keywords}
    assert (
        isinstance(keywords["weights_only"], ast.Constant)
        and keywords["weights_only"].value is True
    )


@pytest.mark.parametrize(
    "word", ["eval", "exec", "yaml.load", "pickle.load", "pickle.loads", "os.system"]
)
def test_nothing_runs_code_from_data(word: str) -> None:
    assert [
        path for path, tree in trees().items() for call in calls(tree) if name_of(call) == word
    ] == []


@pytest.mark.parametrize("flag", ["shell", "allow_pickle"])
def test_no_dangerous_flag_is_on(flag: str) -> None:
    on = [
        path
        for path, tree in trees().items()
        for call in calls(tree)
        for keyword in call.keywords
        if keyword.arg == flag
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert on == []
    assert not [
        path
        for path, tree in trees().items()
        for call in calls(tree)
        if name_of(call).endswith(".extractall")
    ]


def test_masks_of_prepared_cases_are_read_behind_the_gate_only() -> None:
    """`CaseFile.labels` is called where masks are written, granted, or scored; methods, feeds and
    predict never see it.
    """
    callers = {
        path
        for path, tree in trees().items()
        for call in calls(tree)
        if name_of(call) == "file.labels"
    }
    assert callers == {
        "data/label_guard.py",
        "prepare/build.py",
        "prepare/convert.py",
        "report/run.py",
    }
    others = {
        path
        for path, tree in trees().items()
        for call in calls(tree)
        if name_of(call).endswith(".labels") and path not in callers
    }
    they_ask_the_gate = {
        "data/slices.py",
        "data/patches.py",
        "data/nnunet.py",
        "predict/known.py",
        "training/cleanup.py",
    }
    assert others <= they_ask_the_gate


def test_no_bare_except_and_no_silent_pass() -> None:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno} catches everything"
                assert not all(isinstance(line, ast.Pass) for line in node.body), (
                    f"{path}:{node.lineno} hides an error"
                )


def test_processes_are_spawned_as_windows_and_macos_do() -> None:
    """A forked process inherits threads and locks; Windows cannot fork."""
    pools = [
        ast.unparse(call)
        for tree in trees().values()
        for call in calls(tree)
        if name_of(call) in ("ProcessPoolExecutor", "multiprocessing.Pool", "os.fork")
    ]
    assert pools and all("mp_context=multiprocessing.get_context('spawn')" in p for p in pools)


def test_help_is_light() -> None:
    """`fewmask --help` must not pay for torch, transformers, monai or scipy."""
    code = (
        "import sys; from fewmask.cli import main; sys.argv = ['fewmask', '--help']\n"
        "try: main()\nexcept SystemExit as e: assert e.code in (0, None)\n"
        "heavy = {'torch', 'transformers', 'monai', 'scipy', 'h5py', 'nibabel'} & "
        "set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout


def test_rooms_without_torch_import_without_torch() -> None:
    code = (
        "import sys, fewmask.prepare.build, fewmask.prepare.check, fewmask.evaluate.scores, "
        "fewmask.evaluate.protocols\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_path_of_a_machine_is_committed() -> None:
    root = SOURCE.parent.parent
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    words = ("/wo" + "rk/", "/ro" + "ot/")
    for name in listed.stdout.split():
        path = root / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".csv", ".j2", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert not [word for word in words if word in text], name

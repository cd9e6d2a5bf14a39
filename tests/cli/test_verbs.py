"""What the verbs say, in one process: each asserts on what a person came for."""

import json
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fewmask.cli import app as program
from fewmask.cli.app import VERBS, app
from fewmask.cli.info import LOSSES
from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, NoRoom
from fewmask.core.manual import method_names
from fewmask.core.words import command
from fewmask.training import TrainRequest, train
from fewmask.version import __version__
from tests.scans import prepare_scans, write_scans

for name in VERBS:
    import_module(f"fewmask.cli.{name}")


def fewmask(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words: object) -> str:
    """The lines of a call that works."""
    result = fewmask(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def pasted(line: str) -> str:
    """What a printed command says, as a shell would take it apart."""
    first, *words = shlex.split(line)
    assert first == "fewmask"
    return told(*words)


def refused(kind: type[FewmaskError], *words: object) -> FewmaskError:
    """The error of a call that does not."""
    error = fewmask(*words).exception
    assert isinstance(error, kind), error
    return error


def small(prepared: Path, out: Path, **changes: object) -> TrainRequest:
    common = {"method": "unet", "steps": 2, "settings": ("channels=(4,8)",), "amp": "off"}
    return TrainRequest(prepared, out, device="cpu", **(common | {"slices": 4} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Scans, their prepared dataset, and two runs that are predicted and scored; in a folder of a
    name that has to be quoted.
    """
    folder: Path = tmp_path_factory.mktemp("cli") / """it's "my" data; $1"""
    prepared = prepare_scans(folder)
    for name, changes in {"run": {}, "other": {"settings": ("channels=(8,8)",)}}.items():
        train(small(prepared.folder, folder / name, **changes))
        told("evaluate", folder / name)
    return folder


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["version"], ["train", "--version"]])
def test_the_version_in_every_form(words) -> None:
    assert told(*words) == f"{__version__}\n"


@pytest.mark.parametrize("words", ["--json --version", "--version --json", "version --json"])
def test_the_version_as_json(words) -> None:
    assert json.loads(told(*words.split())) == {"version": __version__}


def test_global_flags_stand_before_and_after_the_verb(folder) -> None:
    before, after = (
        told(*words)
        for words in (["--json", "check", folder / "scans"], ["check", folder / "scans", "--json"])
    )
    assert before == after and len(json.loads(before)["cases"]) == 5


def test_quiet_and_verbose_lines_around_the_same_answer(folder) -> None:
    usual = fewmask("train", folder / "prepared", "--slices", 4, "--out", folder / "run", "-q")
    assert isinstance(usual.exception, BadConfig), "another method than before"
    quiet = fewmask("predict", folder / "run", folder / "prepared", "--quiet", "--device", "cpu")
    again = ("--device", "cpu", "--again")
    loud = fewmask("-v", "predict", folder / "run", folder / "prepared", *again)
    cleaned, said, judged, written = loud.stdout.splitlines()
    assert said.startswith("tags and outlines were put in: ")
    assert cleaned.startswith("liver: clean-up (") and " mL in 5 of 5 scans, filled " in cleaned
    assert "doubtful" in judged and "quality.csv" in judged
    assert quiet.stdout == loud.stdout and written == f"5 masks in {folder / 'run' / 'predictions'}"
    assert quiet.stderr == ""
    assert loud.stderr.startswith(f"fewmask {__version__}, Python 3.")
    assert "scans predicted: 5 of 5, case_04" in loud.stderr and "\ntook " in loud.stderr
    kept = told("predict", folder / "run", folder / "prepared", "--device", "cpu")
    assert kept.rstrip() == f"{loud.stdout.rstrip()}, 5 of them were there"


def test_check_counts_one_as_one(tmp_path) -> None:
    write_scans(tmp_path, 2)
    assert "2 usable scans, layout plain" in told("check", tmp_path)
    (tmp_path / "images" / "case_01.nii.gz").write_bytes(b"no scan")
    error = refused(BadDataset, "check", tmp_path)
    assert error.what == "1 problem found, listed above"
    assert "1 usable scan, layout plain\n" in fewmask("check", tmp_path).stdout


def test_check_says_what_the_numbers_of_a_scan_are(folder) -> None:
    heads, first = told("check", folder / "scans").splitlines()[1:3]
    assert "voxels (d, h, w)" in heads and "mask value: voxels" in heads
    assert " ".join(first.split()) == "case_00 ct 8 x 32 x 32 5 x 3 x 3 mm 4 slices outlined 6: 576"


def test_info_of_a_folder_of_scans_says_what_to_do(folder) -> None:
    lines = told("info", folder / "scans")
    assert "scans              5\n" in lines and "with a mask        5\n" in lines
    assert f"next               {command('check', folder / 'scans')}\n" in lines
    line = command("prepare", folder / "scans", "--out", "prepared", "--label", "organ=6")
    assert f"then               {line}\n" in lines


def test_info_of_a_run_is_for_people(folder) -> None:
    text = told("info", folder / "run")
    assert "{" not in text and "'" not in text
    assert "masks              4 slices\n" in text and "finished           yes\n" in text
    assert "changed settings\n  channels         4, 8\n" in text
    assert json.loads(told("info", folder / "run", "--json"))["all settings"]["channels"] == [4, 8]


def test_info_of_a_method_explains_settings_and_losses(folder) -> None:
    text = " ".join(told("info", "unet").split())
    assert "warmup = 50 Steps of linear warm-up before the cosine." in text
    assert "smaller is better" in text
    assert "dice loss 1 minus the (soft) Dice of the mask with the outline." in text
    assert set(json.loads(told("--json", "info", "unet"))["losses"]) == {
        "ce",
        "dice",
        "empty",
        "classify",
    }


def test_every_method_of_ours_explains_its_losses_and_none_is_left_over() -> None:
    used = {}
    for name in method_names():
        used[name] = set(json.loads(told("--json", "info", name))["losses"])
    assert [name for name, losses in used.items() if not losses] == ["nnunet"]
    assert set.union(*used.values()) == set(LOSSES)


@pytest.mark.parametrize("thing", ["prepared", "scans/images/case_00.nii.gz"])
def test_info_of_a_dataset_and_of_a_scan(folder, thing) -> None:
    lines = [" ".join(line.split()) for line in told("info", folder / thing).splitlines()]
    assert ("split 3 train, 0 val, 2 test" in lines) == (thing == "prepared")
    assert ("spacing_mm 5, 3, 3" in lines) == (thing != "prepared")


def test_info_of_nothing_names_the_methods() -> None:
    assert "sam_mix" in refused(BadConfig, "info", "sam_mx").fix


def test_weights_are_listed_with_licence_and_whether_they_are_here(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path))
    lines = {line.split()[0]: line for line in told("weights", "list").splitlines()}
    assert "not here  Apache-2.0" in lines["sam-vit-b"]
    assert " here  " in lines["compact"] and "procedural images" in lines["compact"]
    assert "weights fetch sam-vit-b" in refused(BadConfig, "weights", "fetch").fix


def test_compare_prints_a_table_and_a_difference(folder) -> None:
    lines = told("compare", folder / "run", folder / "other", "--against", "unet channels=[8,8]")
    assert "| unet channels=[4,8] + clean-up | 4 slices | 2 | 1 |" in lines
    a, b = (f"unet channels={channels} + clean-up" for channels in ("[4,8]", "[8,8]"))
    assert f"- test, 4 slices: {a} minus {b}" in lines


def test_report_writes_a_page(folder) -> None:
    page = Path(told("report", folder / "run").strip())
    assert "Dice" in page.read_text() and "--set &#39;channels=[4,8]&#39;" in page.read_text()


def test_doctor_names_versions_and_tested_systems() -> None:
    text = told("doctor")
    assert "tomli-w" in text and "Linux is tested; macOS and Windows" in text
    assert json.loads(told("--json", "doctor"))["missing"] == []


def test_convert_writes_slices_and_reads_them_back(folder, tmp_path) -> None:
    assert "wrote 24 slices to" in told("convert", folder / "prepared", "--out", tmp_path / "a.h5")
    text = told("convert", tmp_path / "a.h5", "--out", tmp_path / "back", "--spacing", "3 3 5")
    assert f"next: fewmask check {tmp_path / 'back'}" in text
    flags = ["--out", tmp_path / "x", "--part", "test"]
    wrong = refused(BadConfig, "convert", tmp_path / "a.h5", *flags)
    assert wrong.what == "--part is for a prepared dataset"


def test_nnunet_exports_what_the_budget_grants(folder, tmp_path) -> None:
    text = told("nnunet", "export", folder / "prepared", "--volumes", 1, "--out", tmp_path / "raw")
    assert text == f"1 scan in {tmp_path / 'raw'}\n"
    assert refused(BadConfig, "nnunet", "export").fix.startswith("fewmask nnunet export prepared")


def test_train_names_the_next_commands_one_per_line(folder, tmp_path) -> None:
    flags = ["--method", "unet", "--slices", 2, "--steps", 1, "--device", "cpu"]
    flags += ["--set", "channels=(4,8)", "--amp", "off", "--out", tmp_path / "my run"]
    text = told("train", folder / "prepared", *flags)
    run = tmp_path / "my run"
    lines = text.split("next:\n")[1].splitlines()
    assert lines == [
        f"  {command('predict', run, folder / 'prepared')}",
        f"  {command('evaluate', run)}",
        f"  {command('report', run)}",
    ]
    for line in lines:
        pasted(line)
    assert (run / "report/index.html").is_file()


def test_the_next_lines_of_all_verbs_work_when_pasted(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = json.loads(told("info", folder / "scans", "--json"))
    assert "5 usable scans" in pasted(lines["next"])
    assert "prepared 5 scans" in pasted(lines["then"])
    odd = tmp_path / 'so\'s "named"'
    odd.mkdir()
    told("convert", folder / "prepared", "--out", odd / "a.h5")
    text = told("convert", odd / "a.h5", "--out", odd / "back", "--spacing", "3 3 5")
    pasted(text.split("next: ")[1].splitlines()[0])
    (folder / "other/metrics.csv").rename(folder / "other/kept.csv")
    error = refused(BadDataset, "compare", folder / "other")
    assert (folder / "other/metrics.csv").exists() is False
    pasted(error.fix)
    assert (folder / "other/metrics.csv").read_text() == (folder / "other/kept.csv").read_text()
    (folder / "other/kept.csv").unlink()


def test_advice_with_a_command_works_when_pasted(tmp_path) -> None:
    """The fix of a mask without orientation: with folder, structures and flags in use."""
    data = tmp_path / "it's data"
    write_scans(data, 2)
    mask = data / "labels/case_01.nii.gz"
    array = np.asarray(nib.load(mask).dataobj)
    nib.save(nib.Nifti1Image(array, None), mask)
    result = fewmask(
        "check", data, "--label", "the liver=6", "--label", "rest=7", "--keep", "first"
    )
    assert isinstance(result.exception, BadDataset)
    (line,) = {text for text in result.output.splitlines() if "look at both: " in text}
    line = line.split("look at both: ")[1]
    assert line == (
        f"{command('check', data, '--copy-header', 'case_01', '--out', 'masks_fixed')} --label "
        "'the liver=6' --label rest=7 --keep first"
    )
    assert "wrote" in pasted(line.replace("masks_fixed", str(tmp_path / "fixed")))


def test_train_names_no_scores_where_there_is_no_truth(tmp_path) -> None:
    """The main case: some slices are outlined, and no mask is complete."""
    prepare_scans(tmp_path, masks="partial", tags=None)
    flags = ["--method", "unet", "--slices", 2, "--steps", 1, "--device", "cpu"]
    flags += ["--set", "channels=(4,8)", "--amp", "off", "--out", tmp_path / "run"]
    assert "evaluate" not in told("train", tmp_path / "prepared", *flags)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "run", "prepared"],
        ["evaluate", "run"],
        ["train", "prepared", "--slices", "2", "--out", "new"],
        ["sweep", "plan.toml", "--data", "."],
        ["demo", "--out", "new"],
        ["pretrain", "--out", "new"],
    ],
)
@pytest.mark.parametrize(("device", "code"), [("cuda:99", "F08"), ("gpu", "C02")])
def test_a_device_that_is_not_there_is_a_wrong_request_in_every_verb(
    folder, monkeypatch, words, device, code
) -> None:
    (folder / "plan.toml").write_text(
        'data = "scans"\nlabel = ["liver=6"]\n'
        '[[runs]]\nmethod = ["unet"]\nslices = [2]\nsteps = 1\n'
    )
    monkeypatch.chdir(folder)
    error = refused(BadConfig, *words, "--device", device)
    assert (error.code, error.exit_code) == (code, 2)
    assert "use cpu" in error.fix or "'cuda'" in error.fix
    assert not (folder / "new" / "config.json").exists()
    shutil.rmtree(folder / "new", ignore_errors=True)


def test_a_stop_by_a_signal_is_no_error() -> None:
    from fewmask.core.errors import Interrupted

    assert str(Interrupted("stopped by a signal")).splitlines() == ["stopped by a signal"]
    assert str(NoRoom("the disk is full")) == "error: the disk is full"


def test_a_fault_of_the_program_names_its_log_and_who_to_tell(monkeypatch, capsys) -> None:
    def fail(**options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(program, "app", fail)
    with pytest.raises(SystemExit) as done:
        program.main()
    text = capsys.readouterr().err
    log = Path(text.split("the log is ")[1].splitlines()[0])
    assert done.value.code == 1 and "ZeroDivisionError: division by zero" in text
    assert "no public address yet" in text and "Traceback" in log.read_text()
    log.unlink()


def test_sizes_chosen_by_us_are_shown_so_and_options_stand_in_groups() -> None:
    text = told("prepare", "-h")
    assert "[default: (auto)]" in " ".join(text.split())
    assert text.index("What is known of the scans:") < text.index("--tags <")
    assert text.index("Reading scans:") < text.index("--trust")
    text = told("train", "-h")
    assert text.index("--method") < text.index("Machine:") < text.index("--device")


def test_shell_completion_can_be_installed() -> None:
    assert "--install-completion" in told("-h")

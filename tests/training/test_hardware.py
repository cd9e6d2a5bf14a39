"""What is said of the machine and of the code that ran on it."""

from fewmask.training.hardware import digest_code


def test_the_digest_of_code_follows_python_files_and_their_names_only(tmp_path) -> None:
    def write(name: str, **files: str) -> str:
        (tmp_path / name / "part").mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / name / "part" / file.replace("_", ".")).write_text(text)
        return digest_code(tmp_path / name)

    one = write("one", a_py="x = 1\n", b_py="y = 2\n")
    assert len(one) == 12
    assert one == write("same", a_py="x = 1\n", b_py="y = 2\n", notes_txt="not code")
    others = [
        write("edited", a_py="x = 1\n", b_py="y = 3\n"),
        write("renamed", a_py="x = 1\n", c_py="y = 2\n"),
        write("joined", a_py="x = 1\ny = 2\n", b_py=""),
    ]
    assert len({one, *others}) == 4

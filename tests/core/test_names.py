"""Names that somebody else wrote, as they are published."""

from fewmask.core.names import without_paths


def test_a_path_is_published_as_its_files_name() -> None:
    told = {"weights": "/home/a/b/sam.pth", "lr": 0.1, "all": ["C:\\x\\y.pt", "auto"], "on": True}
    assert without_paths(told) == {
        "weights": "sam.pth", "lr": 0.1, "all": ["y.pt", "auto"], "on": True,
    }  # fmt: skip

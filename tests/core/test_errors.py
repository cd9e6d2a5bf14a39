import inspect
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core import errors
from fewmask.core.errors import BadScan, FewmaskError, Interrupted

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, FewmaskError) and kind.__module__ == errors.__name__
]
CODES = {
    "FewmaskError": 1,
    "TrainingFailed": 1,
    "BadConfig": 2,
    "LabelWithheld": 2,
    "BadScan": 3,
    "BadDataset": 3,
    "BadCheckpoint": 3,
    "NoRoom": 4,
    "PartlyDone": 5,
    "Interrupted": 130,
}


def test_exit_codes_are_the_contracts() -> None:
    assert {kind.__name__: kind("x").exit_code for kind in KINDS} == CODES
    assert Interrupted("terminated", exit_code=143).exit_code == 143
    assert Interrupted("stopped").exit_code == 130


def test_order_of_the_message() -> None:
    error = BadScan(
        "what", where=("file a", "file b"), did="nothing was written", fix="do that", code="N20"
    )
    assert (
        str(error) == "error: what   [N20]\n  file a\n  file b\nnothing was written\nfix: do that"
    )
    assert str(BadScan("what", where="file", did="")) == "error: what\n  file"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(path=st.text(min_size=1))
def test_any_path_can_be_shown(kind: type[FewmaskError], path: str) -> None:
    error = kind(f"cannot read {path}", where=path, fix=path, code="N45")
    text = str(error)
    assert text.startswith(f"{kind.title}cannot read ")
    assert text.endswith(f"fix: {path}")
    assert json.loads(json.dumps(error.as_dict()))["where"] == [path]

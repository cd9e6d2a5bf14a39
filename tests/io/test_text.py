import codecs
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.text import dump_toml, read_json, read_toml, write_json, write_toml

SCALARS = (
    st.text(max_size=12)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
)
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
    lambda inner: st.dictionaries(
        st.text(max_size=8), inner | st.lists(inner, min_size=1, max_size=3), max_size=3
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(TABLES)
def test_toml_round_trip(record: dict[str, object]) -> None:
    assert tomllib.loads(dump_toml(record)) == record


def test_toml_looks_as_a_person_would_write_it(tmp_path: Path) -> None:
    record = {
        "kind": "slices",
        "draw": 0,
        "slices": [["a", 3]],
        "none": None,
        "recipe": {"size": 64, "window_hu": (-125.0, 240.0)},
    }
    write_toml(tmp_path / "b.toml", record)
    text = (tmp_path / "b.toml").read_text()
    assert (
        text == 'kind = "slices"\ndraw = 0\nslices = [\n  [\n    "a",\n    3,\n  ],\n]\n\n'
        "[recipe]\nsize = 64\nwindow_hu = [\n  -125.0,\n  240.0,\n]\n"
    )
    assert read_toml(tmp_path / "b.toml")["recipe"]["window_hu"] == [-125.0, 240.0]


def test_json_round_trip_is_exact(tmp_path: Path) -> None:
    record = {"x": [0.1, 1e-300, -0.0], "name": "größe\u2028", "deep": {"a": None, "b": True}}
    write_json(tmp_path / "a.json", record)
    assert read_json(tmp_path / "a.json") == record


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": math.nan})
    assert list(tmp_path.iterdir()) == []


BAD = {
    "duplicate.toml": b"a = 1\na = 2\n",
    "duplicate.json": b'{"a": 1, "a": 2}',
    "bom.toml": codecs.BOM_UTF8 + b"a = 1\n",
    "bom.json": codecs.BOM_UTF8 + b"{}",
    "utf16.toml": "a = 1\n".encode("utf-16"),
    "utf16.json": '{"a": 1}'.encode("utf-16"),
    "latin1.toml": 'a = "größe"\n'.encode("latin-1"),
    "large.toml": b"#" * (8 * 2**20 + 1),
    "large.json": b" " * (8 * 2**20 + 1),
    "deep.toml": b"a = " + b"[" * 2000 + b"]" * 2000,
    "deep.json": b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "very_deep.json": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "rather_deep.json": b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
    "dots.toml": b".".join([b"a"] * 100_000) + b" = 1\n",
    "nan.json": b'{"a": NaN}',
    "list.json": b"[1]",
    "cut.json": b'{"a": 1',
    "digits.json": b'{"a": ' + b"9" * 10_000 + b"}",
    "empty.json": b"",
    "yaml.toml": b"a: 1\n",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(BadConfig) as caught:
        (read_toml if name.endswith("toml") else read_json)(path)
    assert name in str(caught.value)
    assert caught.value.fix
    assert caught.value.code == "C03"


def test_crlf_is_fine_and_the_kind_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"a = 1\r\nb = 2\r\n")
    assert read_toml(tmp_path / "a.toml") == {"a": 1, "b": 2}
    with pytest.raises(BadDataset, match="no such file"):
        read_json(tmp_path / "absent.json", kind=BadDataset)

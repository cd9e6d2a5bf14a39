import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.config import (
    Count,
    Positive,
    Range,
    Share,
    apply_settings,
    changed_settings,
    describe,
    parse,
    settings_text,
)
from fewmask.core.errors import BadConfig


@dataclass(frozen=True)
class Encoder:
    """An inner config."""

    depth: int = 2
    """Blocks; the paper has 12."""
    lr: float = 1e-4


@dataclass(frozen=True)
class Config:
    """An outer config."""

    name: str
    """What it is
    called."""
    kind: Literal["a", "b"] = "a"
    limit: float | None = None
    on: bool = False
    sizes: tuple[int, ...] = (1, 2)
    window: tuple[float, float] = (-125.0, 240.0)
    weights: dict[str, float] = field(default_factory=dict)
    encoder: Encoder = Encoder()
    """The encoder."""


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CONFIGS = st.builds(
    Config,
    st.text(),
    st.sampled_from(["a", "b"]),
    st.none() | FLOATS,
    st.booleans(),
    st.lists(st.integers(), max_size=4).map(tuple),
    st.tuples(FLOATS, FLOATS),
    st.dictionaries(st.text(), FLOATS, max_size=3),
    st.builds(Encoder, st.integers(), FLOATS),
)


@settings(max_examples=200, deadline=None)
@given(CONFIGS)
def test_plain_data_and_back(config: Config) -> None:
    assert parse(Config, asdict(config)) == config
    assert parse(Config, json.loads(json.dumps(asdict(config)))) == config


def test_whole_numbers_are_taken_for_floats() -> None:
    config = parse(Config, {"name": "x", "limit": 3, "encoder": {"lr": 1}})
    assert type(config.limit) is float
    assert type(config.encoder.lr) is float


@pytest.mark.parametrize(
    ("record", "row", "words"),
    [
        ({"name": "x", "knid": "a"}, "C01", "did you mean 'kind'"),
        ({"name": "x", "encoder": {"detph": 3}}, "C01", "config.encoder"),
        ({}, "C02", "lacks the key 'name'"),
        ({"name": 3}, "C02", "config.name = 3"),
        ({"name": "x", "kind": "c"}, "C02", "one of 'a', 'b'"),
        ({"name": "x", "on": 1}, "C02", "true or false"),
        ({"name": "x", "sizes": [1, 2.5]}, "C02", "config.sizes[1]"),
        ({"name": "x", "window": [1.0]}, "C02", "config.window"),
        ({"name": "x", "encoder": {"depth": True}}, "C02", "config.encoder.depth"),
        ({"name": "x", "encoder": {"lr": math.nan}}, "C02", "a finite number"),
        ({"name": "x", "encoder": {"lr": math.inf}}, "C02", "a finite number"),
        ({"name": "x", "encoder": 3}, "C02", "config.encoder"),
    ],
)
def test_bad_records_name_key_and_fix(record: dict[str, object], row: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parse(Config, record)
    assert words in str(caught.value)
    assert (caught.value.code, caught.value.exit_code) == (row, 2)
    assert caught.value.fix


def test_settings() -> None:
    lines = [
        "encoder.lr=0.5",
        "kind=b",
        "limit=none",
        "on = true",
        "sizes=[4, 5]",
        "window=(0, 1)",
        "name=1e-4x",
    ]
    config = apply_settings(Config("x", limit=2.0), lines)
    assert config == Config("1e-4x", "b", None, True, (4, 5), (0.0, 1.0), encoder=Encoder(lr=0.5))


@pytest.mark.parametrize(
    "line",
    ["encoder.lr", "=3", "encoder.detph=3", "nothing=3", "kind.x=3", "on=3", "encoder.depth=2.5"],
)
def test_bad_settings(line: str) -> None:
    with pytest.raises(BadConfig):
        apply_settings(Config("x"), [line])


@dataclass(frozen=True)
class Words:
    weights: str = "auto"
    term: Literal["none", "mean_teacher"] = "mean_teacher"
    limit: float | None = 1.0


def test_none_is_a_word_where_a_word_is_wanted_and_nothing_elsewhere() -> None:
    """`--set weights=none` stands in the docs."""
    changed = apply_settings(Words(), ["weights=none", "term=none", "limit=none"])
    assert changed == Words("none", "none", None)
    assert apply_settings(Words(), ["weights=12", "term='none'"]) == Words("12", "none")


def test_the_dataclass_is_the_manual() -> None:
    rows = {name: (default, sentence) for name, _, default, sentence in describe(Config)}
    assert rows["name"] == (None, "What it is called.")
    assert rows["encoder"] == (Encoder(), "The encoder.")
    assert rows["weights"] == ({}, "")
    assert describe(Encoder)[0] == ("depth", "a whole number", 2, "Blocks; the paper has 12.")


def test_only_what_differs_is_named_and_a_stage_s_settings_by_their_stage() -> None:
    usual = Config("x")
    saved = json.loads(
        json.dumps(asdict(replace(usual, on=True, sizes=(3, 4), encoder=Encoder(depth=4))))
    )
    assert settings_text(changed_settings(saved, usual)) == "on=true sizes=[3,4] encoder.depth=4"
    assert (
        settings_text(
            changed_settings(asdict(usual) | {"sizes": [1, 2], "window": [-125.0, 240.0]}, usual)
        )
        == ""
    )


@dataclass(frozen=True)
class Bounded:
    lr: Positive = 0.1
    share: Share = 0.5
    sides: tuple[Count, ...] = (1, 2)
    threads: Annotated[int, Range(1.0, 8.0)] | None = None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lr=-1", "lr = -1.0 is not above 0"),
        ("lr=0", "above 0"),
        ("lr=nan", "a finite number"),
        ("share=1.01", "is not from 0 to 1"),
        ("sides=(4,0)", "sides[1] = 0 is not from 1 to 10,000,000"),
        ("threads=9", "from 1 to 8"),
        ("threads=few", "a whole number or none"),
    ],
)
def test_c02_numbers_out_of_range_are_refused_with_the_range(line: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        apply_settings(Bounded(), [line], "x")
    assert words in str(caught.value) and caught.value.code == "C02" and caught.value.fix


def test_numbers_at_their_bounds_are_taken() -> None:
    lines = ["lr=1e-9", "share=0", "sides=(1,)", "threads=8"]
    assert apply_settings(Bounded(), lines) == Bounded(1e-9, 0.0, (1,), 8)
    assert apply_settings(Bounded(), ["threads=none", "share=1"]) == Bounded(share=1.0)

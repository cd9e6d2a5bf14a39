"""What an earlier version called `gate` and `neighbours` is read as `presence`."""

import pytest

from fewmask.core.errors import BadConfig
from fewmask.core.renamed import renaming_note, todays_config, todays_name, todays_words
from fewmask.core.run_record import RunRecord
from fewmask.methods import config_class, config_from
from fewmask.methods.sam_mix import Config

EARLIER = {"gate": True, "neighbours": 2.0, "lr": 0.0003, "labelled": 4}
"""Part of the record of a `sam_mix` of the version before."""


@pytest.mark.parametrize(
    ("method", "old", "presence", "cost"),
    [
        ("sam_mix", {"gate": True, "neighbours": 2.0}, "scan", 2.0),
        ("sam_mix", {"gate": True, "neighbours": 0.5}, "scan", 0.5),
        ("sam_mix", {"gate": True, "neighbours": 0.0}, "slice", 2.0),
        ("sam_mix", {"gate": False, "neighbours": 2.0}, "none", 2.0),
        ("sam_mix", {"neighbours": 0.0}, "slice", 2.0),
        ("sam_mix", {"gate": True}, "scan", 2.0),
        ("ada_sam", {"gate": True}, "slice", 2.0),
        ("ada_sam", {"gate": True, "neighbours": 2.0}, "scan", 2.0),
        ("multimix", {"gate": True}, "slice", 2.0),
        ("multimix", {"gate": False}, "none", 2.0),
    ],
)
def test_old_records_mean_what_they_meant(method, old, presence, cost) -> None:
    config = config_from(method, old)
    assert (config.presence, config.presence_cost) == (presence, cost)


@pytest.mark.parametrize("method", ["sam_mix", "ada_sam", "multimix"])
def test_what_nobody_said_is_as_before(method) -> None:
    """The defaults of both versions are one, so that `presence` moved nobody's result."""
    told = {"gate": True} | ({"neighbours": 2.0} if method == "sam_mix" else {})
    assert config_from(method, told) == config_class(method)()


def test_a_whole_record_is_read_by_todays_names() -> None:
    task = {"classes": ["liver"], "size": 64}
    record = {"method": "sam_mix", "config": EARLIER, "task": task, "seed": 0, "steps": 9}
    read = RunRecord.from_dict(record).config
    assert read == {"presence": "scan", "presence_cost": 2.0, "lr": 0.0003, "labelled": 4}
    assert config_from("sam_mix", read) == Config()


def test_a_method_that_never_had_the_name_does_not_get_it() -> None:
    assert todays_config("unet", {"gate": True}) == {"gate": True}
    for method, name in (("unet", "gate"), ("multimix", "neighbours"), ("sam_pp", "gate")):
        with pytest.raises(BadConfig, match=f"unknown key '{name}'"):
            config_from(method, {name: 0})


def test_words_keep_their_place_and_gate_outranks_neighbours() -> None:
    words = ("dense_prompt=true", "neighbours=0.0", "lr=0.1")
    assert todays_words("sam_mix", words) == ("dense_prompt=true", "presence=slice", "lr=0.1")
    for both in (("gate=false", "neighbours=0"), ("neighbours=0", "gate=false")):
        assert todays_words("sam_mix", both) == ("presence=none",)
    cost = todays_words("ada_sam", ["neighbours=1.5"])
    assert cost == ("presence=scan", "presence_cost=1.5")
    assert todays_words("unet", ["gate=1"]) == ("gate=1",)
    assert todays_name("sam_mix neighbours=0.0, 400 steps") == "sam_mix presence=slice, 400 steps"
    assert todays_name("vnet") == "vnet"
    with pytest.raises(BadConfig, match="gate = 3"):
        todays_words("multimix", ["gate=3"])


def test_the_note_names_the_new_setting() -> None:
    note = renaming_note("sam_mix", ["lr=1", "neighbours=0", "gate=false"])
    assert note.startswith("`neighbours=0` and `gate=false` go in the next version")
    assert note.endswith("use `presence=none`")
    assert renaming_note("sam_mix", ["lr=1"]) == "" == renaming_note("unet", ["gate=1"])

"""Settings read from files are those of the dataclasses, for every method."""

import json
from dataclasses import asdict, is_dataclass

import pytest

from fewmask.core.config import describe
from fewmask.core.manual import method_defaults, method_names, method_settings
from fewmask.methods import config_class, names


def test_every_method_is_found() -> None:
    assert method_names() == names()


@pytest.mark.parametrize("name", method_names())
def test_settings_read_are_those_of_the_dataclass(name) -> None:
    cls = config_class(name)
    known = json.loads(json.dumps(asdict(cls())))
    assert json.loads(json.dumps(method_defaults(name))) == known
    assert list(method_defaults(name)) == list(known)
    for (field, kind, default, sentence), setting in zip(
        describe(cls), method_settings(name).values(), strict=True
    ):
        allowed = "one of " + ", ".join(map(repr, setting.choices)) if setting.choices else ""
        assert (setting.name, setting.sentence) == (field, sentence)
        assert allowed == (kind if kind.startswith("one of") else "")
        assert isinstance(setting.default, dict) == is_dataclass(default)


def test_what_an_own_eye_reads() -> None:
    found = method_settings("cfr")
    assert found["pseudo"].choices == ("stored", "online")
    assert found["pseudo"].sentence.startswith("SAM's labels: made once per scan")
    assert found["cubes"].default == 3, "of another method's settings"
    assert found["finetune"].default["tune"].choices[0] == "auto", "in a part, named elsewhere"
    assert method_settings("bcp")["side"].default == 2 / 3

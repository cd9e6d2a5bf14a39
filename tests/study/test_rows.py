"""How a run is called in a table."""

from fewmask.study.rows import changed_settings, settings_text


def test_only_what_differs_is_named_and_a_stage_s_settings_by_their_stage() -> None:
    default = {"turns": True, "pseudo": None, "finetune": {"canvas": 448, "turns": True}}
    config = {"turns": False, "pseudo": None, "finetune": {"canvas": 256, "turns": True}}
    assert settings_text(changed_settings(config, default)) == "turns=false finetune.canvas=256"
    assert settings_text(changed_settings(default, default)) == ""

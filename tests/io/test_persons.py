"""Names of people are known again however folders write them, and words of protocols are kept."""

import pytest

from fewmask.io.persons import name_marks, names_person, protocol_words


@pytest.mark.parametrize(
    "text",
    ["Meier_Anna", "anna-meier 2", "AnnaMeier", "MEIERANNA", "ct of Méier", "p1_meier_v2"],
)
def test_a_name_is_known_again(text: str) -> None:
    assert names_person(text, name_marks("Meier^Anna^^Dr"))


def test_short_names_are_known_together() -> None:
    assert names_person("Li_Wu_1", name_marks("Li^Wu")) and names_person(
        "WuLi", name_marks("Li^Wu")
    )
    assert not names_person("Li", name_marks("Li^Wu")), "too little to tell"


def test_umlauts_and_other_scripts() -> None:
    for text in ("Müller", "Muller", "mueller"):
        assert names_person(text, name_marks("MÜLLER^Jo"))
    assert names_person("山田_ct", name_marks("Yamada^Tarou=山田^太郎"))


@pytest.mark.parametrize("name", ["PAT_0042", "LIDC-IDRI-0001", "Anonymous^Patient", "", "Li"])
def test_pseudonyms_and_what_stands_for_no_name_are_nobodys(name: str) -> None:
    assert name_marks(name) == frozenset()
    assert not names_person("PAT_0042 LIDC anonymous", name_marks(name))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Abdomen portal venous 5.0 B30f", "Abdomen portal venous 5.0 B30f"),
        ("t2_tse_tra_p2 Meier Anna", "t2_tse_tra_p2 ..."),
        ("Meier, Anna 19700101", "..."),
        ("Meier", "..."),
        ("", ""),
    ],
)
def test_words_of_protocols_alone_are_shown(text: str, shown: str) -> None:
    wanted = "" if shown == "..." else shown
    assert protocol_words(text) == wanted


def test_a_word_of_protocols_that_is_a_name_is_not_shown() -> None:
    assert protocol_words("Hand CT Hand", name_marks("Hand^Peter")) == "... CT ..."

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fewmask.core.randomness import permutation, rng, seed_of


def test_seed_is_the_hash_of_its_names() -> None:
    digest = hashlib.sha256(b"7\x1forder\x1f3\x1fcase").digest()
    assert seed_of(7, "order", 3, "case") == int.from_bytes(digest[:8], "little")


def test_same_names_same_numbers_whatever_came_before() -> None:
    first = rng(1, "augment", 5, "a").normal(size=4)
    rng(1, "augment", 6, "a").normal(size=100)
    np.testing.assert_array_equal(rng(1, "augment", 5, "a").normal(size=4), first)


def test_numbers_are_the_same_on_every_machine() -> None:
    # Recorded once: budgets, orders and draws of old runs hang on them.
    assert rng(0, "x").integers(2**32, size=3).tolist() == [702726690, 2532345010, 2670763560]
    assert permutation(6, 0, "budget-patients") == [0, 1, 5, 4, 3, 2]


def test_every_name_matters() -> None:
    seeds = {
        seed_of(0, "a"),
        seed_of(1, "a"),
        seed_of(0, "b"),
        seed_of(0, "a", 0),
        seed_of(0, "a", 1),
        seed_of(0, "a", 0, 0),
        seed_of(0, "a", "0", "x"),
    }
    assert len(seeds) == 7


def global_state() -> np.ndarray:
    """The 624 words of numpy's global generator."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(state, dict)
    return np.array(state["state"]["key"])


def test_global_state_is_not_touched() -> None:
    before = global_state()
    rng(0, "a").normal()
    np.testing.assert_array_equal(global_state(), before)


@given(st.integers(0, 50), st.integers(-5, 2**63))
def test_permutations_hold_every_item_once(n: int, seed: int) -> None:
    assert sorted(permutation(n, seed, "order")) == list(range(n))

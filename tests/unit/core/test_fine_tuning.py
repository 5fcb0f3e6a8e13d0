"""Which prompts are held out: the same ones every time, by share and seed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.fine_tuning import is_held_out


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1), st.text(max_size=4))
@settings(max_examples=200)
def test_a_larger_share_holds_out_what_a_smaller_one_does(prompt_hash, share, other, seed):
    """And more; none holds out nothing."""
    small, large = sorted((share, other))
    assert not is_held_out(prompt_hash, 0, seed)
    assert is_held_out(prompt_hash, large, seed) or not is_held_out(prompt_hash, small, seed)


def test_another_seed_holds_out_others():
    """The choice depends on the seed, and a share is about that share of many prompts."""
    one, two = ({number for number in range(5_000) if is_held_out(f"{number:064x}", 0.2, seed)} for seed in ("one", "two"))
    assert 900 < len(one) < 1_100
    assert 900 < len(two) < 1_100
    assert 100 < len(one & two) < 300

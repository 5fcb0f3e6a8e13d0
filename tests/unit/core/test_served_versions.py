"""The line of a model's configuration that names the versions served."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.served_versions import served_in, serving
from headrace.local.checkout import checkout

CONFIG = (checkout() / "libs/headrace/lm/triton/signals/config.pbtxt").read_text()


@given(st.sets(st.integers(1, 10_000), min_size=1), st.sets(st.integers(1, 10_000), min_size=1))
def test_what_is_named_is_read_back_and_replaced(first, second):
    """Named twice, only the latter counts, and nothing else of the configuration changes."""
    once = serving(CONFIG, first)
    twice = serving(once, second)
    assert served_in(once) == tuple(sorted(first))
    assert served_in(twice) == tuple(sorted(second))
    assert serving(twice, second) == twice
    assert [line for line in twice.splitlines() if "version_policy" not in line] == CONFIG.rstrip().splitlines()


def test_a_configuration_without_the_line_leaves_the_choice_to_the_server():
    """So it is as long as nothing was rolled out."""
    assert served_in(CONFIG) is None
    assert served_in(serving(serving(CONFIG, [1, 2]), None)) is None

"""A data set with known damage is what it says."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.samples import Message, Reference, Sample, content_hash_of, response_text
from headrace.experiment.damage import Damage
from headrace.experiment.planted import PROBLEM, planted


def sample(number: int) -> Sample:
    turns = (
        Message("system", "be exact"),
        Message("user", f"Please say how many apples are left of {number} apples after one is eaten?"),
        Message("assistant", f"One apple of {number} is gone, and so there must be {number - 1} of them left."),
    )
    reference = Reference(str(number - 1), "math")
    attributes = {PROBLEM: f"p{number % 7}"}
    return Sample("d", f"s{number}", 0, content_hash_of(turns, "", reference), turns, reference=reference, attributes=attributes)


CLEAN = [sample(number) for number in range(60)]


@given(st.integers(7, 60), st.integers(0, 1000))
def test_each_kind_strikes_its_share_and_the_rest_stays(count, seed):
    """Equally many rows of each kind, ids and order kept, clean rows untouched, and the same again for the same seed."""
    clean = CLEAN[:count]
    rows = planted(clean, share=0.1, seed=seed)
    assert [row.sample.id for row in rows] == [each.id for each in clean]
    counts = Counter(row.damage for row in rows)
    assert {counts[kind] for kind in Damage} == {max(1, round(0.1 * count))}
    assert all((row.sample == each) is (row.damage is None) for row, each in zip(rows, clean, strict=True))
    assert rows == planted(clean, share=0.1, seed=seed)


@given(st.integers(0, 1000))
def test_each_kind_is_the_damage_that_its_name_says(seed):
    """Prompts or answers change as told, the turns before them stay, and hashes are those of the new texts."""
    by_id = {each.id: each for each in CLEAN}
    rows = planted(CLEAN, share=0.1, seed=seed)
    for row in rows:
        before, after = by_id[row.sample.id], row.sample
        assert after.messages[0] == before.messages[0]
        assert after.content_hash == content_hash_of(after.messages, "", after.reference)
        if row.damage in {Damage.SHUFFLED_ANSWER, Damage.TRUNCATED_ANSWER}:
            assert after.messages[1] == before.messages[1]
        if row.damage is Damage.SHUFFLED_ANSWER:
            source = by_id[row.taken_from]
            assert source.attributes[PROBLEM] != before.attributes[PROBLEM]
            assert response_text(after) == response_text(source)
        if row.damage is Damage.TRUNCATED_ANSWER:
            assert response_text(before).startswith(response_text(after))
        if row.damage is Damage.GARBLED_PROMPT:
            assert after.messages[2] == before.messages[2]
            assert after.messages[1] != before.messages[1]
        if row.damage is Damage.OFF_TOPIC:
            assert after.reference is None
            assert "apples" not in after.messages[1].content
    clean = {row.sample.id for row in rows if row.damage is None}
    copies = [row for row in rows if row.damage is Damage.NEAR_COPY]
    assert {row.taken_from for row in copies} <= clean
    assert len({row.taken_from for row in copies}) == len(copies)


def test_too_few_rows_and_a_single_problem_are_refused():
    """Nothing is damaged twice, and there must be another problem's answer."""
    with pytest.raises(ValueError, match="too few"):
        planted(CLEAN[:5], share=0.1, seed=0)
    with pytest.raises(ValueError, match="one problem"):
        planted(CLEAN[::7], share=0.1, seed=0)

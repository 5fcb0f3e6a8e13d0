"""What each way of damaging a text promises."""

import random
from collections import Counter
from difflib import SequenceMatcher

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.experiment.damage import garbled, lightly_edited, truncated
from headrace.experiment.small_talk import small_talk

WORDS = st.lists(st.text("abcdeXYZ0189.,+=", min_size=1, max_size=8), min_size=1, max_size=60)
TEXTS = st.one_of(WORDS.map(" ".join), st.text(max_size=200))
SEEDS = st.integers(0, 2**32)


def has_letter(text):
    return any("a" <= character.lower() <= "z" for character in text if character.isascii())


@given(TEXTS.filter(lambda text: len(text) >= 2), SEEDS)
def test_a_truncated_text_is_a_shorter_beginning(text, seed):
    """It is not empty, it is shorter, the text begins with it, and the same chance cuts at the same place."""
    found = truncated(text, random.Random(seed))
    assert 0 < len(found) < len(text)
    assert text.startswith(found)
    assert found == truncated(text, random.Random(seed))


def test_long_answers_lose_between_forty_and_eighty_percent_of_their_words():
    """As the kind of damage says."""
    text = " ".join(map(str, range(1000)))
    shares = [len(truncated(text, random.Random(seed)).split()) / 1000 for seed in range(50)]
    assert all(0.19 <= share <= 0.6 for share in shares)
    assert max(shares) - min(shares) > 0.2


@given(TEXTS.filter(has_letter), SEEDS)
def test_a_garbled_text_is_as_long_and_another(text, seed):
    """As many characters and words, never the same text, and the same chance garbles alike."""
    found = garbled(text, random.Random(seed))
    assert len(found) == len(text)
    assert len(found.split()) == len(text.split())
    assert found != text
    assert found == garbled(text, random.Random(seed))


def test_garbling_keeps_digits_and_replaces_one_letter_in_five():
    """Words change places, letters change; what is no letter only moves."""
    text = " ".join(f"word{number}" for number in range(100))
    found = garbled(text, random.Random(1))
    assert Counter(filter(str.isdigit, found)) == Counter(filter(str.isdigit, text))
    kept = sum((Counter(filter(str.isalpha, found)) & Counter("word" * 100)).values())
    assert 320 <= kept <= 400 - 40


@given(TEXTS.filter(has_letter), SEEDS)
def test_a_lightly_edited_text_is_another_and_nearly_the_same(text, seed):
    """At most one word in 25 (at least one) has one letter more; the rest is untouched."""
    found = lightly_edited(text, random.Random(seed))
    before, after = text.split(), found.split()
    assume(len(before) == len(after))
    differing = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert 1 <= len(differing) <= max(1, len(before) // 25)
    assert all(len(other) == len(one) + 1 for one, other in differing)
    assert found == lightly_edited(text, random.Random(seed))


def test_what_cannot_be_damaged_is_refused():
    """A text that is too short, or without letters, is no input."""
    for damage, text in ((truncated, "a"), (garbled, "12 + 3"), (lightly_edited, "12 + 3")):
        with pytest.raises(ValueError, match="cannot be"):
            damage(text, random.Random(0))


def test_small_talk_is_varied():
    """Of two hundred rows nearly all differ, and most share little of their wording."""
    chance = random.Random(0)
    talks = [small_talk(chance) for _ in range(200)]
    assert len(set(talks)) >= 190
    assert len({question for question, _ in talks}) >= 80
    ratios = [SequenceMatcher(None, *chance.sample(talks, 2)[0]).ratio() for _ in range(50)]
    assert sorted(ratios)[25] < 0.5

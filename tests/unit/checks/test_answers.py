"""Texts made comparable: as Unicode says, in time linear in them."""

import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.checks._answers import normalised


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u0301\u0323\u0f73 \n."), max_size=30))
def test_text_without_long_runs_of_marks_is_nfc(text):
    """White space and the closing full stop apart."""
    expected = " ".join(unicodedata.normalize("NFC", text).split()).removesuffix(".").rstrip()
    assert normalised(text, ignore_case=False) == expected


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0344\u0323", "\u0f73"])
def test_runs_of_marks_take_no_long_time(marks):
    """A run of 80,000 marks, which NFC alone would sort for many seconds, also where the marks are of combining class 0."""
    text = "a" + marks * (80_000 // len(marks))
    began = time.process_time()
    once = normalised(text, ignore_case=False)
    assert time.process_time() - began < 1
    assert once == normalised(text + " ", ignore_case=False) != normalised(text + "b", ignore_case=False)


def test_whatever_is_put_together_from_marks_is_a_mark():
    """Else a run of it would not be seen."""
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.combining(unicodedata.normalize("NFD", char)[0]):
            assert unicodedata.category(char).startswith("M"), hex(ord(char))

"""The waste of sympy that the mathematics check mends: plain numbers are read without a program, to the same number."""

from typing import Any

import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st
from math_verify import parse
from sympy.core import numbers
from sympy.parsing import sympy_parser

from headrace.checks._math_mend import PLAIN_NUMBER, UNMENDED

wholes = st.one_of(st.integers(0, 20), st.integers(0, 10**18)).map(str)
decimals = st.text("0123456789", min_size=1, max_size=18)
signed = st.tuples(st.sampled_from(["", "-"]), wholes, st.one_of(st.just(""), decimals.map(".{}".format))).map("".join)


def programs_of(read: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that are run to read the text."""
    programs: list[str] = []

    def counted(program: str, *namespaces: Any) -> None:
        programs.append(program)
        exec(program, *namespaces)  # noqa: S102  # sympy's own

    with monkeypatch.context() as patch:
        patch.setattr(sympy_parser, "exec", counted, raising=False)
        read(text)
    return programs


def test_without_the_mend_all_of_sympy_is_imported_for_each_number(monkeypatch):
    """When this fails, sympy has mended it: `_math_mend` can go, but for its pattern."""
    assert programs_of(UNMENDED, "42", monkeypatch) == ["from sympy import *"]


def test_a_comparison_of_numbers_imports_nothing(monkeypatch):
    """The mend is there where math-verify looks; when this fails, it looks elsewhere."""
    for text in ("42", "it is 3.50", "-7", "$12$"):
        assert programs_of(lambda answer: parse(answer, parsing_timeout=None), text, monkeypatch) == []


@given(signed)
def test_a_number_is_the_one_that_sympy_reads(text):
    """Type, value to the last bit, precision, and how it is written: no comparison can tell them apart."""
    mended, unmended = sympy.Number(text), UNMENDED(text)
    assert (type(mended), sympy.srepr(mended), str(mended)) == (type(unmended), sympy.srepr(unmended), str(unmended))
    assert (mended._prec, mended == unmended, hash(mended)) == (unmended._prec, True, hash(unmended))
    if mended.is_Float:
        assert mended._mpf_ == unmended._mpf_


@pytest.mark.parametrize("text", ["0", "1", "-1"])
def test_numbers_that_sympy_has_once_are_had_once(text):
    """`x is S.One` is asked all over sympy."""
    assert sympy.Number(text) is UNMENDED(text)


@given(st.text("0123456789.,-+ /_x٣", max_size=24).filter(lambda text: PLAIN_NUMBER.fullmatch(text) is None))
@example("1e5")
@example("007")
@example("42\n")
@example("9" * 5_000)
def test_any_other_text_is_read_as_it_was(text):
    """The same number or the same error."""
    assert _read(numbers.sympify, text) == _read(UNMENDED, text)


def _read(read: Any, text: str) -> Any:
    try:
        return sympy.srepr(read(text))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is to be the same
        return type(error), str(error)

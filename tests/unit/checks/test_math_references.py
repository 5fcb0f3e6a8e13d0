"""References that are plain numbers are read by the shorter way, to the same outcome."""

import pytest
from math_verify import parse

from headrace.checks import _math_task as math_task

ANSWERS = (
    "7",
    "-7",
    "$7.0$",
    "so it is 0",
    r"\boxed{\frac{7}{2}}",
    "3.5",
    "-3.50",
    "0.000000000000001",
    "123456789012345",
    "none",
)


@pytest.mark.parametrize(
    "number", ["0", "-0", "7", "-7", "7.0", "3.5", "-3.5", "0.000000000000001", "123456789012345", "999999999999999.9", "0.10"]
)
def test_a_plain_number_is_the_same_reference_with_delimiters_and_without(number):
    """Whatever the answer is: the shorter way saves time and changes no outcome."""
    for answer in ANSWERS:
        bare, delimited = (
            math_task.work({"reference": reference, "response": answer, "float_digits": 6})
            for reference in (number, f"${number}$")
        )
        assert bare["outcome"] == delimited["outcome"], (number, answer)


def test_a_plain_number_is_read_as_math_verify_reads_it_between_delimiters():
    """The expressions are of the same kind and value, so that every comparison is the same."""
    for number in ("0", "12", "-5", "3.14", "-0.5", "100000"):
        assert parse(number, parsing_timeout=None) == parse(f"${number}$", parsing_timeout=None)

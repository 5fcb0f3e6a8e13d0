"""Mends one waste of sympy 1.14; whoever reads numbers through math-verify imports this.

`sympy.Number("42")`, which math-verify asks for with every number that it finds, is read by `sympify`: that runs
`from sympy import *` into a namespace made anew, turns the text into the program `Integer (42 )`, compiles it and evaluates
it, which is four fifths of comparing two numbers. Here a number that is written plainly goes straight to the class that the
program calls, so that type, value and precision are the same; any other text goes the way it went. sympy has no public place
for this. A test shows when a later sympy no longer needs it.
"""

import re
from typing import Any

from sympy import Float, Integer
from sympy.core import numbers

PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
"""What is one number however it is read: no zeros before it, no exponent, no digits but ASCII's."""

UNMENDED = numbers.sympify


def _sympify(given: Any, **options: Any) -> Any:
    if options or not isinstance(given, str) or PLAIN_NUMBER.fullmatch(given) is None:
        return UNMENDED(given, **options)
    return Float(given) if "." in given else Integer(given)


numbers.sympify = _sympify  # the mend itself: `Number` looks for it there, and nobody outside that module does

"""Moments without rounding: whole-number sums, so that batches and readers may come in any order and give the same bits.

A double is a whole number times a power of two. The sums of such numbers and of their squares are kept as Python integers in
one unit; rounding happens once, when a mean, a deviation or a bound is read. Huge offsets, heavy tails and millions of rows
lose nothing, merging is addition, and a constant column has a deviation of exactly zero.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BLOCK = 1 << 16
"""Values summed at a time: 2^16 products of two limbs stay below 2^53, where doubles still count exactly."""

_LIMB = 18
"""Bits of a limb; three hold the 53 bits of a double."""

_UNIT = 1_126
"""The finest double is 2^-1074 with 53 bits behind the leading one: every double is a whole number of 2^-1126."""

_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares of finite values, exact; `total` counts units of 2^-1126, `squares` of 2^-2252."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float | None:
        """The mean, correctly rounded; None of no values."""
        return float(self._mean()) if self.count else None

    def std(self, ddof: int) -> float | None:
        """The standard deviation, correctly rounded; None of no more than `ddof` values."""
        return _root(self._variance(ddof)) if self.count > ddof else None

    def bound(self, m: float, ddof: int) -> float | None:
        """The largest double not above mean + m deviations: a double exceeds it if and only if it exceeds the true bound.

        None of no more than `ddof` values: there is no deviation, so nothing can be said to exceed it.
        """
        if self.count <= ddof:
            return None
        mean, reach = self._mean(), Fraction(m) ** 2 * self._variance(ddof)

        def exceeds(value: float) -> bool:
            distance = Fraction(value) - mean
            if m >= 0:
                return distance > 0 and distance**2 > reach
            return distance > 0 or distance**2 < reach

        return _last_that_holds(exceeds)

    def _mean(self) -> Fraction:
        return Fraction(self.total, self.count << _UNIT)

    def _variance(self, ddof: int) -> Fraction:
        spread = self.count * self.squares - self.total**2
        return Fraction(spread, (self.count * (self.count - ddof)) << 2 * _UNIT)


def moments_of(values: Floats) -> Moments:
    """The moments of finite values. Raises ValueError where one is not finite: it has no place in a sum."""
    if not np.isfinite(values).all():
        raise ValueError("moments are of finite values: leave the others out")
    sums = Moments()
    for start in range(0, len(values), _BLOCK):
        sums += _block_moments(values[start : start + _BLOCK])
    return sums


def _block_moments(values: Floats) -> Moments:
    """Sums by exponent; every partial sum is a whole number below 2^53, so the order of adding is of no account."""
    fractions, exponents = np.frexp(np.abs(values))
    whole = np.ldexp(fractions, 53).astype(np.int64)
    limbs = [(whole >> shift & (1 << _LIMB) - 1).astype(np.float64) for shift in (0, _LIMB, 2 * _LIMB)]
    signs = np.where(values < 0, -1.0, 1.0)
    lowest = int(exponents.min())
    places = exponents - lowest
    total = squares = 0
    for low, limb in enumerate(limbs):
        total += _weighed(places, signs * limb, lowest - 53 + _UNIT + _LIMB * low, 1)
        for high in range(low, len(limbs)):
            product = _weighed(places, limb * limbs[high], 2 * (lowest - 53 + _UNIT) + _LIMB * (low + high), 2)
            squares += product if low == high else 2 * product
    return Moments(len(values), total, squares)


def _weighed(places: npt.NDArray[np.int32], values: Floats, unit: int, step: int) -> int:
    """The sum of values * 2^(unit + step * place)."""
    sums = np.bincount(places, weights=values)
    return sum(int(sums[place]) << unit + step * int(place) for place in np.flatnonzero(sums))


def _root(variance: Fraction) -> float:
    """The square root, correctly rounded: computed with 64 bits to spare and a last bit that tells of a remainder."""
    if not variance:
        return 0.0
    shift = 128 + max(0, variance.denominator.bit_length() - variance.numerator.bit_length())
    scaled = (variance.numerator << 2 * shift) // variance.denominator
    root = math.isqrt(scaled)
    exact = root * root == scaled and scaled * variance.denominator == variance.numerator << 2 * shift
    try:
        return float(Fraction(root << 1 | (not exact), 2 << shift))
    except OverflowError:
        return math.inf


def _last_that_holds(exceeds: Callable[[float], bool]) -> float:
    """The largest finite double that does not exceed; minus infinity where all do."""
    low, high = _ordinal(-math.inf), _ordinal(math.inf)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if exceeds(_double(middle)) else (middle, high)
    return _double(low)


def _ordinal(value: float) -> int:
    """The place of a double among all doubles."""
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits if bits < _SIGN else _SIGN - bits


def _double(ordinal: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", ordinal if ordinal >= 0 else _SIGN - ordinal))[0]
    return value

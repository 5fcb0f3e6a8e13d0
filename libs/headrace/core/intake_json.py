"""JSON from outside, read strictly: what two readers could understand differently is refused."""

import json
import math
import re
from typing import Any

from headrace.core.refusals import RefusalCode, Refused, shown

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_DIGITS_MAX = 20  # of a 64-bit integer with its sign; longer ones are refused before they are converted

# One token a match: a string (an unterminated one runs to the end, so the scan stays linear), or a bracket.
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
# Everything up to the first escape that stands for a control character; every escape is consumed whole, so that the text
# "\\b" (a backslash and a b) is not taken for a backspace.
_BAD_ESCAPE = r"[bf]|u00(?:0[0-8bBcCeEfF]|1[0-9a-fA-F])"
_CONTROL_ESCAPE = re.compile(rf"(?:[^\\]++|\\(?!{_BAD_ESCAPE}).)*+\\(?:{_BAD_ESCAPE})", re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_object(raw: bytes, *, bytes_max: int, depth_max: int) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises:
        Refused: too_large, bad_utf8, too_deep, not_json, not_an_object, duplicate_key, not_finite, number_too_large,
            lone_surrogate or control_characters.
    """
    if len(raw) > bytes_max:
        raise Refused(
            RefusalCode.TOO_LARGE, f"{len(raw)} bytes in one line, the limit is {bytes_max} (HEADRACE_GATEWAY_LINE_BYTES_MAX)"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(RefusalCode.BAD_UTF8, f"byte {error.start} is not UTF-8: {error.reason}") from None
    value = parse_text(text.removeprefix("\ufeff"), depth_max=depth_max)
    if not isinstance(value, dict):
        raise Refused(RefusalCode.NOT_AN_OBJECT, f"a sample is a JSON object, not {_KINDS[type(value)]}")
    return value


def parse_text(text: str, *, depth_max: int) -> Any:
    """The JSON value in `text`; raises Refused as `parse_object` does."""
    if text.count("{") + text.count("[") > depth_max:  # only then can it be too deep
        _check_depth(text, depth_max)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        code = RefusalCode.CONTROL_CHARACTERS if error.msg.startswith("Invalid control") else RefusalCode.NOT_JSON
        said = error.msg.removesuffix(" at").removesuffix(" starting")  # some of Python's messages end in mid-sentence
        raise Refused(code, f"{said} at character {error.pos}") from None
    if ("\\b" in text or "\\f" in text or "\\u00" in text) and (bad := _CONTROL_ESCAPE.match(text)):
        raise Refused(RefusalCode.CONTROL_CHARACTERS, f"control character in a text, at character {bad.end()} of the line")
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    return value


def to_json(value: Any) -> str:
    """Compact JSON text of a value that was parsed here; the order of keys is kept."""
    return _compact.encode(value)


def check_text(text: str, where: str) -> None:
    """Refuse control characters and lone surrogates in a text that did not come as JSON."""
    if bad := _CONTROL.search(text):
        raise Refused(RefusalCode.CONTROL_CHARACTERS, f"{where} holds {bad.group()!a} at character {bad.start()}")
    if not text.isascii():
        _check_surrogates(text)


def _check_depth(text: str, depth_max: int) -> None:
    depth = 0
    for token in _STRUCTURE.finditer(text):
        kind = text[token.start()]
        if kind in "[{":
            depth += 1
            if depth > depth_max:
                raise Refused(
                    RefusalCode.TOO_DEEP,
                    f"nested deeper than {depth_max} at character {token.start()} (HEADRACE_GATEWAY_DEPTH_MAX)",
                )
        elif kind in "]}":
            depth -= 1


def _check_surrogates(value: Any) -> None:
    text = value if isinstance(value, str) else _compact.encode(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise Refused(RefusalCode.LONE_SURROGATE, f"{half} stands alone; a surrogate pair was cut or badly escaped") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add gives None
        raise Refused(RefusalCode.DUPLICATE_KEY, f"the key {shown(twice)} is there twice")
    return fields


def _integer(digits: str) -> int:
    if len(digits) <= _DIGITS_MAX and _INT64_MIN <= (number := int(digits)) <= _UINT64_MAX:
        return number
    raise Refused(RefusalCode.NUMBER_TOO_LARGE, f"{shown(digits)} does not fit 64 bits; write it as a text")


def _real(digits: str) -> float:
    number = float(digits)
    if math.isfinite(number):
        return number
    raise Refused(RefusalCode.NOT_FINITE, f"{shown(digits)} overflows; write it as a text")


def _constant(name: str) -> float:
    raise Refused(RefusalCode.NOT_FINITE, f"{name} is not JSON; use null")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)
_KINDS = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}

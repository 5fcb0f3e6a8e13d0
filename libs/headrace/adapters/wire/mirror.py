"""The wire form of core types whose messages mirror them: the same names, each field the other's counterpart.

A number is absent where it is None, a time (Unix seconds) is a timestamp where the message says so, a code is text, a choice
between types is a oneof whose members the types name. What other modules write and read is left to them.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from headrace.adapters.wire import pages as wire_pages
from headrace.adapters.wire.fields import Undecodable, finite, seconds_of, timestamp_of
from headrace.adapters.wire.samples import sample_from_message, sample_to_message
from headrace.core.dossiers import Cost, Embeddings, Signals
from headrace.core.samples import Sample

_TIMESTAMP = "google.protobuf.Timestamp"
_UNIONS = (types.UnionType, Union)

Mirrored = TypeVar("Mirrored")
_Read = Callable[[Any], Any]
"""From a message that holds the field to the field's value."""
_Write = Callable[[Any, Any], None]
"""Sets the field of a message to a value."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: _Read
    write: _Write


_ELSEWHERE: Mapping[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    Sample: (sample_from_message, sample_to_message),
    Signals: (wire_pages.signals_from, wire_pages.signals_to),
    Embeddings: (wire_pages.embeddings_from, wire_pages.embeddings_to),
    Cost: (wire_pages.cost_from, wire_pages.cost_to),
}
"""Types with a wire form of their own: how it is read and made."""


def mirrored_from(kind: type[Mirrored], message: Any) -> Mirrored:
    """The core type in its message.

    Raises:
        Undecodable: a required part is missing, a code is not known to this version, or a number is impossible.
    """
    return kind(**{field.name: field.read(message) for field in _plan_of(kind, type(message))})


def fill(message: Any, value: object) -> None:
    """Writes the core type into its message.

    Raises:
        ValueError: a text holds lone surrogates, or a number does not fit its field.
    """
    for field in _plan_of(type(value), type(message)):
        field.write(message, getattr(value, field.name))


_plans: dict[tuple[type, type], tuple[_Field, ...]] = {}


def _plan_of(kind: type, message_type: type) -> tuple[_Field, ...]:
    """How each field is read and written; worked out once for each type."""
    plan = _plans.get((kind, message_type))
    if plan is None:
        plan = _plans[kind, message_type] = _plan(kind, message_type)
    return plan


def _plan(kind: Any, message_type: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    descriptor = message_type.DESCRIPTOR
    plan = []
    for field in fields(kind):
        hint, name = hints[field.name], field.name
        if name in descriptor.oneofs_by_name:
            plan.append(_choice(name, hint, descriptor))
        else:
            plan.append(_plain(name, hint, descriptor.fields_by_name[name]))
    return tuple(plan)


def _choice(name: str, hint: Any, descriptor: Any) -> _Field:
    """A oneof: its members are told apart by their message's name, which is the type's."""
    members = {field.message_type.name: field.name for field in descriptor.oneofs_by_name[name].fields}
    kinds = {members[kind.__name__]: kind for kind in get_args(hint)}

    def read(message: Any) -> Any:
        chosen = message.WhichOneof(name)
        if chosen is None:
            raise Undecodable(f"{descriptor.name}.{name} is missing or not known to this version")
        return mirrored_from(kinds[chosen], getattr(message, chosen))

    def write(message: Any, value: Any) -> None:
        member = getattr(message, members[type(value).__name__])
        member.SetInParent()
        fill(member, value)

    return _Field(name, read, write)


def _plain(name: str, hint: Any, field: Any) -> _Field:
    optional = get_origin(hint) in _UNIONS
    kind = next(each for each in get_args(hint) if each is not type(None)) if optional else hint
    if get_origin(kind) is tuple:
        return _repeated(name, get_args(kind)[0])
    if get_origin(kind) is not None:  # a mapping
        return _Field(name, lambda message: dict(sorted(getattr(message, name).items())), _update(name))
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        return _made(name, lambda message: seconds_of(message, name), timestamp_of, optional=optional)
    if field.message_type is not None:
        return _nested(name, kind, optional=optional)
    return _scalar(name, kind, optional=optional, presence=field.has_presence)


def _repeated(name: str, kind: Any) -> _Field:
    if kind in {str, int}:
        return _Field(name, lambda message: tuple(getattr(message, name)), lambda m, value: getattr(m, name).extend(value))
    if kind in _ELSEWHERE:
        read_one, make_one = _ELSEWHERE[kind]

        def write(message: Any, value: Any) -> None:
            getattr(message, name).extend([make_one(each) for each in value])

        return _Field(name, lambda message: tuple(map(read_one, getattr(message, name)[:])), write)

    def write_mirrored(message: Any, value: Any) -> None:
        for each in value:
            fill(getattr(message, name).add(), each)

    return _Field(name, lambda message: tuple(mirrored_from(kind, each) for each in getattr(message, name)[:]), write_mirrored)


def _update(name: str) -> _Write:
    return lambda message, value: getattr(message, name).update(value)


def _made(name: str, read: _Read, make: Callable[[Any], Any], *, optional: bool) -> _Field:
    def write(message: Any, value: Any) -> None:
        if value is not None:
            getattr(message, name).CopyFrom(make(value))

    def read_present(message: Any) -> Any:
        if message.HasField(name):
            return read(message)
        if optional:
            return None
        raise Undecodable(f"{name} is missing")

    return _Field(name, read_present, write)


def _nested(name: str, kind: Any, *, optional: bool) -> _Field:
    if kind in _ELSEWHERE:
        read_one, make_one = _ELSEWHERE[kind]
        return _made(name, lambda message: read_one(getattr(message, name)), make_one, optional=optional)

    def read(message: Any) -> Any:
        if optional and not message.HasField(name):
            return None
        if not message.HasField(name):
            raise Undecodable(f"{name} is missing")
        return mirrored_from(kind, getattr(message, name))

    def write(message: Any, value: Any) -> None:
        if value is not None:
            getattr(message, name).SetInParent()
            fill(getattr(message, name), value)

    return _Field(name, read, write)


def _scalar(name: str, kind: Any, *, optional: bool, presence: bool) -> _Field:
    def read(message: Any) -> Any:
        if optional and presence and not message.HasField(name):
            return None
        value = getattr(message, name)
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return _code(kind, value, name, optional=optional)
        return finite(value, name) if kind is float else value

    def write(message: Any, value: Any) -> None:
        if value is not None:
            setattr(message, name, value)

    return _Field(name, read, write)


def _code(kind: type[StrEnum], value: str, name: str, *, optional: bool) -> StrEnum | None:
    if optional and not value:
        return None
    try:
        return kind(value)
    except ValueError:
        raise Undecodable(f"{name} {value[:80]!r} is not known to this version") from None

"""Why the door turns a sample away: stable codes, each with its meaning. Nothing refused here was ever in the system."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class RefusalCode(StrEnum):
    """Codes are never renamed or reused; `REFUSALS` says them in words."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NOT_PROTOBUF = "not_protobuf"
    BAD_UTF8 = "bad_utf8"
    BAD_GZIP = "bad_gzip"
    GZIP_BOMB = "gzip_bomb"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_TURNS = "too_many_turns"
    DUPLICATE_KEY = "duplicate_key"
    NOT_FINITE = "not_finite"
    NUMBER_TOO_LARGE = "number_too_large"
    LONE_SURROGATE = "lone_surrogate"
    CONTROL_CHARACTERS = "control_characters"
    UNKNOWN_FORMAT = "unknown_format"
    AMBIGUOUS_FORMAT = "ambiguous_format"
    EMPTY_MESSAGES = "empty_messages"
    EMPTY_CONTENT = "empty_content"
    BAD_MESSAGE = "bad_message"
    UNKNOWN_ROLE = "unknown_role"
    NO_ASSISTANT_TURN = "no_assistant_turn"
    NO_PROMPT = "no_prompt"
    UNSUPPORTED_CONTENT = "unsupported_content"
    BAD_TOOLS = "bad_tools"
    BAD_ID = "bad_id"
    BAD_REVISION = "bad_revision"
    BAD_CONTENT_HASH = "bad_content_hash"
    BAD_REFERENCE = "bad_reference"
    BAD_ATTRIBUTES = "bad_attributes"
    BAD_METADATA = "bad_metadata"
    BAD_DATASET = "bad_dataset"
    UNKNOWN_DATASET = "unknown_dataset"
    FOREIGN_DATASET = "foreign_dataset"


REFUSALS: Mapping[RefusalCode, str] = MappingProxyType(
    {
        RefusalCode.NOT_JSON: "the line is not JSON",
        RefusalCode.NOT_AN_OBJECT: "the line is JSON, but not an object",
        RefusalCode.NOT_PROTOBUF: "the bytes are not the protobuf message they are said to be",
        RefusalCode.BAD_UTF8: "the bytes are not UTF-8, perhaps cut in the middle of a character",
        RefusalCode.BAD_GZIP: "the body says it is gzip and is not, or ends too early",
        RefusalCode.GZIP_BOMB: "the body unpacks to far more than it should",
        RefusalCode.TOO_LARGE: "more bytes than a limit allows",
        RefusalCode.TOO_DEEP: "objects and arrays are nested deeper than the limit",
        RefusalCode.TOO_MANY_TURNS: "the conversation has more turns than the limit",
        RefusalCode.DUPLICATE_KEY: "an object has the same key twice, so one of the values would be lost",
        RefusalCode.NOT_FINITE: "NaN, an infinity, or a number that overflows to one",
        RefusalCode.NUMBER_TOO_LARGE: "an integer that does not fit 64 bits",
        RefusalCode.LONE_SURROGATE: "half of a UTF-16 surrogate pair: no text encoding can hold it",
        RefusalCode.CONTROL_CHARACTERS: "NUL or another control character besides tab, line feed and carriage return",
        RefusalCode.UNKNOWN_FORMAT: "none of the accepted forms",
        RefusalCode.AMBIGUOUS_FORMAT: "more than one of the accepted forms at once",
        RefusalCode.EMPTY_MESSAGES: "a conversation without turns",
        RefusalCode.EMPTY_CONTENT: "a user or assistant turn that says nothing and calls no tool",
        RefusalCode.BAD_MESSAGE: "a turn that is not built as a turn",
        RefusalCode.UNKNOWN_ROLE: "a turn by nobody known",
        RefusalCode.NO_ASSISTANT_TURN: "nothing to train on: no turn is the assistant's",
        RefusalCode.NO_PROMPT: "nothing was asked: the only answer is the first turn",
        RefusalCode.UNSUPPORTED_CONTENT: "content other than text, such as an image, or content with no place in a sample",
        RefusalCode.BAD_TOOLS: "tool definitions or a tool call that are not built as such",
        RefusalCode.BAD_ID: "a sample id that could be mistaken for a path, a topic or a query",
        RefusalCode.BAD_REVISION: "a revision that is no whole number from 0 to 2147483647",
        RefusalCode.BAD_CONTENT_HASH: "the content hash sent along is not the content's",
        RefusalCode.BAD_REFERENCE: "a reference with unknown or wrongly typed parts",
        RefusalCode.BAD_ATTRIBUTES: "attributes that are not a small map of texts",
        RefusalCode.BAD_METADATA: "metadata that is not an object, or a name used twice",
        RefusalCode.BAD_DATASET: "a dataset id that is not lower-case letters, digits and hyphens, or two that differ",
        RefusalCode.UNKNOWN_DATASET: "no such dataset; `headrace dataset create` makes one",
        RefusalCode.FOREIGN_DATASET: "the token does not open this dataset",
    }
)


class Refused(Exception):
    """The sample is turned away; `code` is stable, `message` is for the person who sent it."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def shown(value: object) -> str:
    """A value from outside as it may appear in an error: quoted, escaped, at most 80 characters."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text if len(text) <= 80 else text[:77] + "...")  # noqa: PLR2004 - said above

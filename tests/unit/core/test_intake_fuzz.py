"""Whatever comes in, the door answers with a sample or a refusal, and what it lets in it would let in again."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.intake import IntakeLimits, Refused, check_sample, parse_line
from headrace.core.samples import Sample, content_hash_of

LIMITS = IntakeLimits(
    line_bytes_max=4_096, sample_bytes_max=2_048, turns_max=8, depth_max=12, metadata_bytes_max=512, attributes_max=4
)
FORM_KEYS = ["messages", "conversations", "instruction", "input", "output", "system", "history", "prompt", "completion", "tools"]
LOG_KEYS = ["request", "response", "choices", "message", "role", "content", "tool_calls", "function", "name", "arguments", "text"]
ENVELOPE_KEYS = [
    "id",
    "revision",
    "reference",
    "answer",
    "verifier",
    "json_schema",
    "attributes",
    "metadata",
    "from",
    "value",
    "type",
]
KEYS = st.sampled_from([*FORM_KEYS, *LOG_KEYS, *ENVELOPE_KEYS])
TEXTS = st.one_of(
    st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "function", "text", "math", "", "[]", "{}"]),
    st.text(max_size=8),
    st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), max_size=2),
    st.text(st.characters(max_codepoint=0x20), max_size=2),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 2**70), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, TEXTS), inner, max_size=5)),
    max_leaves=10,
)
TURN = st.fixed_dictionaries(
    {"role": TEXTS, "content": st.one_of(TEXTS, VALUES)}, optional={"tool_calls": VALUES, "name": TEXTS, "x": VALUES}
)
OBJECTS = st.one_of(
    st.dictionaries(KEYS, VALUES, max_size=6),
    st.fixed_dictionaries(
        {"messages": st.lists(TURN, max_size=4)}, optional={"id": VALUES, "revision": VALUES, "metadata": VALUES, "a": VALUES}
    ),
)
GOOD_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda text: not text.isspace()
)


def answer(raw):
    try:
        return parse_line(raw, "demo", LIMITS, "http")
    except Refused:
        return None


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(raw):
    """A sample or a refusal, never another exception."""
    answer(raw)


@settings(max_examples=400)
@given(OBJECTS)
def test_any_object_gets_an_answer_and_what_passes_passes_again(fields):
    """A sample that one door lets in is accepted by the other, unchanged, and can be written as UTF-8."""
    sample = answer(json.dumps(fields).encode())
    if sample is not None:
        assert isinstance(sample, Sample)
        assert sample.content_hash == content_hash_of(sample.messages, sample.tools_json, sample.reference)
        assert check_sample(sample, "demo", LIMITS, "http") == sample


@given(
    st.lists(GOOD_TEXT, min_size=2, max_size=6), st.dictionaries(GOOD_TEXT, st.one_of(st.integers(0, 99), GOOD_TEXT), max_size=3)
)
def test_good_conversations_come_through_unchanged(texts, metadata):
    """Every character of the turns and of the metadata arrives, whether it was escaped on the way or not."""
    turns = [{"role": "user" if index % 2 == 0 else "assistant", "content": text} for index, text in enumerate(texts)]
    fields = {"messages": turns, "metadata": metadata}
    escaped, plain = (answer(json.dumps(fields, ensure_ascii=ascii_only).encode()) for ascii_only in (True, False))
    assert escaped == plain
    assert escaped is not None
    assert [(message.role, message.content) for message in escaped.messages] == [
        (turn["role"], turn["content"]) for turn in turns
    ]
    assert json.loads(escaped.metadata_json or "{}") == metadata

"""The door's rules on one sample: what passes, what is refused, and with which code."""

import json
from dataclasses import replace

import pytest

from headrace.core.intake import (
    REVISION_MAX,
    IntakeLimits,
    Refused,
    check_dataset_id,
    check_sample,
    parse_line,
)
from headrace.core.refusals import REFUSALS, RefusalCode
from headrace.core.samples import Message, Origin, OriginKind, Reference, Sample, ToolCall, content_hash_of

LIMITS = IntakeLimits()
TURNS = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
MESSAGES = (Message("user", "2+2?"), Message("assistant", "4"))


def line(**fields):
    return json.dumps({"messages": TURNS} | fields).encode()


def parse(raw, limits=LIMITS):
    return parse_line(raw, "demo", limits, "http")


def refusal(raw, limits=LIMITS):
    with pytest.raises(Refused) as caught:
        parse(raw, limits)
    assert caught.value.message
    return caught.value.code.value


def test_every_code_has_a_meaning():
    """A code that reports show without words would be no reason."""
    assert set(REFUSALS) == set(RefusalCode)


def test_a_plain_line_becomes_a_sample():
    """Without an id the first 32 digits of the content hash are the id, and the revision is 0."""
    sample = parse(line())
    digest = content_hash_of(MESSAGES, "", None)
    assert sample == Sample("demo", digest[:32], 0, digest, MESSAGES, origin=Origin(entry="http"))


def test_the_envelope_is_read():
    """Id, revision, reference, attributes, metadata and tools find their places."""
    sample = parse(
        line(
            id="math:p-1_a.2",
            revision=3,
            reference={"answer": "4", "verifier": "math", "json_schema": {"type": "integer"}, "passages": ["p"]},
            attributes={"topic": "sums"},
            metadata={"source": "book"},
            tools=[{"type": "function", "function": {"name": "add"}}],
        )
    )
    assert (sample.id, sample.revision) == ("math:p-1_a.2", 3)
    assert sample.reference == Reference("4", "math", '{"type":"integer"}', (), "", ("p",))
    assert sample.attributes == {"topic": "sums"}
    assert sample.metadata_json == '{"source":"book"}'
    assert sample.tools_json == '[{"type":"function","function":{"name":"add"}}]'


@pytest.mark.parametrize(("given", "answer"), [("4", "4"), (4, "4"), (2.5, "2.5"), ({"answer": 4}, "4")])
def test_a_reference_may_be_the_answer_alone(given, answer):
    """Datasets hold answers as texts or as numbers."""
    assert parse(line(reference=given)).reference == Reference(answer=answer)


def test_a_whole_number_is_an_id():
    """Many datasets number their rows."""
    assert parse(line(id=17)).id == "17"


def test_null_means_absent_in_the_envelope():
    """Exports from columnar files hold null in every column that does not apply."""
    nulls = dict.fromkeys(["id", "revision", "reference", "attributes", "metadata", "tools", "system"])
    assert parse(line(**nulls)).id == parse(line()).id


def test_unknown_keys_are_kept_as_metadata():
    """No data is dropped: what nothing else takes stays under its name, null included."""
    sample = parse(line(source="web", score=None, metadata={"page": 3}))
    assert json.loads(sample.metadata_json) == {"page": 3, "source": "web", "score": None}


def test_metadata_and_attributes_do_not_change_the_identity():
    """The same conversation from two sources is one sample."""
    assert parse(line(source="a")).id == parse(line(source="b", attributes={"x": "y"})).id


def test_a_reference_changes_the_identity():
    """What an answer is compared with is part of what it is worth."""
    assert parse(line()).id != parse(line(reference="5")).id


def test_a_byte_order_mark_is_skipped():
    """Files written on Windows begin with one."""
    assert parse(b"\xef\xbb\xbf" + line()).messages == MESSAGES


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b'{"a": "b', "not_json"),
        (b'{"messages": [', "not_json"),
        (line() + b"{}", "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"17", "not_an_object"),
        ('{"messages": "é'.encode()[:-1], "bad_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "bad_utf8"),
        (line(id="a")[:-1] + b', "id": "b"}', "duplicate_key"),
        (line(metadata=1).replace(b"1", b'{"a": 1, "a": 1}'), "duplicate_key"),
        (line(metadata={"x": float("nan")}), "not_finite"),
        (line(metadata={"x": float("-inf")}), "not_finite"),
        (line(metadata="@").replace(b'"@"', b'{"x": 1e400}'), "not_finite"),
        (line(metadata="@").replace(b'"@"', b'{"x": -1E+400}'), "not_finite"),
        (line(metadata={"x": 10**25}), "number_too_large"),
        (line(metadata="@").replace(b'"@"', b'{"x": ' + b"9" * 5000 + b"}"), "number_too_large"),
        (line(note="\ud800"), "lone_surrogate"),
        (line(messages=[TURNS[0], {"role": "assistant", "content": "\udc00"}]), "lone_surrogate"),
        (line(note="a\x00b"), "control_characters"),
        (line(note="\\\b"), "control_characters"),
        (line(note="\x1b[31m"), "control_characters"),
        (line(**{"\f": 1}), "control_characters"),
        (line(messages=[TURNS[0], {"role": "assistant", "content": "\x07"}]), "control_characters"),
        (b'{"messages": "a\x01"}', "control_characters"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"[" * 1_000_000, "too_deep"),
        (line(metadata=1).replace(b": 1", b": " + b'{"a":' * 64 + b"1" + b"}" * 64), "too_deep"),
    ],
)
def test_what_is_not_clean_json_is_refused(raw, code):
    """What two readers could understand differently, or no store could hold, does not pass."""
    assert refusal(raw) == code


@pytest.mark.parametrize(
    "text", ["\\beta \\frac \\u0007", '"quoted\\"', "tab\tline\nreturn\r", "\u202eabc\u202c", "a\u200bb", "😀"]
)
def test_text_that_only_looks_dangerous_passes(text):
    """Backslashes in formulas, white space, right-to-left overrides, zero-widths and escaped emoji are text."""
    turns = [TURNS[0], {"role": "assistant", "content": text}]
    assert parse(line(messages=turns)).messages[1].content == text


def test_depth_is_counted_outside_texts():
    """Brackets in a text nest nothing, however many there are."""
    turns = [TURNS[0], {"role": "assistant", "content": "[" * 1_000 + '\\"' * 100 + "{"}]
    assert parse(line(messages=turns)).messages[1].content.startswith("[[")


def test_an_unterminated_text_is_scanned_once():
    """The depth scan stays linear on what would make it start over at every quote."""
    assert refusal(b'{"a": [[' * 40 + b'"' + b'\\"' * 500_000) in {"not_json", "too_deep"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"messages": []}, "empty_messages"),
        ({"messages": TURNS[:1]}, "no_assistant_turn"),
        ({"messages": TURNS[1:]}, "no_prompt"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " \n"}]}, "empty_content"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "empty_content"),
        ({"messages": [{"role": "user", "content": ""}, TURNS[1]]}, "empty_content"),
        ({"messages": [{"role": "wizard", "content": "x"}, TURNS[1]]}, "unknown_role"),
        ({"messages": [{"role": ["user"], "content": "x"}, TURNS[1]]}, "unknown_role"),
        ({"messages": [{"content": "x"}, TURNS[1]]}, "unknown_role"),
        ({"messages": ["hello", TURNS[1]]}, "bad_message"),
        ({"messages": {"role": "user"}}, "bad_message"),
        ({"messages": [{"role": "user", "content": 3}, TURNS[1]]}, "bad_message"),
        ({"messages": [{"role": "user", "content": ["x"]}, TURNS[1]]}, "bad_message"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}, TURNS[1]]}, "bad_message"),
        ({"messages": [{"role": "user", "content": "x", "name": 3}, TURNS[1]]}, "bad_message"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, TURNS[1]]}, "unsupported_content"),
        ({"messages": [TURNS[0], TURNS[1] | {"reasoning_content": "hm"}]}, "unsupported_content"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None, "refusal": "no"}]}, "unsupported_content"),
        ({"messages": [TURNS[0] | {"tool_calls": [{"name": "f"}]}, TURNS[1]]}, "bad_tools"),
        ({"messages": [TURNS[0], TURNS[1] | {"tool_calls": [{"id": "1"}]}]}, "bad_tools"),
        ({"messages": [TURNS[0], TURNS[1] | {"tool_calls": [{"name": ""}]}]}, "bad_tools"),
        ({"messages": [TURNS[0], TURNS[1] | {"tool_calls": [{"function": {"name": "f"}, "argumets": "x"}]}]}, "bad_tools"),
        ({"messages": [TURNS[0], TURNS[1] | {"tool_calls": [{"type": "custom", "name": "f"}]}]}, "unsupported_content"),
        ({"tools": {"name": "f"}}, "bad_tools"),
        ({"tools": "[1]"}, "bad_tools"),
        ({"tools": "[oops"}, "bad_tools"),
        ({"id": "../../etc/passwd"}, "bad_id"),
        ({"id": "a/b"}, "bad_id"),
        ({"id": "a\\b"}, "bad_id"),
        ({"id": "a..b"}, "bad_id"),
        ({"id": ".hidden"}, "bad_id"),
        ({"id": "headrace.sample.submitted"}, "bad_id"),
        ({"id": "__consumer_offsets"}, "bad_id"),
        ({"id": "a b"}, "bad_id"),
        ({"id": "a' or '1'='1"}, "bad_id"),
        ({"id": "\u202etxt"}, "bad_id"),
        ({"id": "a\u200b"}, "bad_id"),
        ({"id": "a\n"}, "bad_id"),
        ({"id": "x" * 129}, "bad_id"),
        ({"id": True}, "bad_id"),
        ({"id": {"x": 1}}, "bad_id"),
        ({"revision": -1}, "bad_revision"),
        ({"revision": REVISION_MAX + 1}, "bad_revision"),
        ({"revision": 1.0}, "bad_revision"),
        ({"revision": True}, "bad_revision"),
        ({"revision": "1"}, "bad_revision"),
        ({"reference": {"answr": "4"}}, "bad_reference"),
        ({"reference": {"answer": ["4"]}}, "bad_reference"),
        ({"reference": True}, "bad_reference"),
        ({"reference": {"verifier": "oracle"}}, "bad_reference"),
        ({"reference": {"json_schema": "{"}}, "bad_reference"),
        ({"reference": {"json_schema": "[]"}}, "bad_reference"),
        ({"reference": {"unit_tests": "x"}}, "bad_reference"),
        ({"reference": {"rubric": 3}}, "bad_reference"),
        ({"attributes": {"a": 1}}, "bad_attributes"),
        ({"attributes": ["a"]}, "bad_attributes"),
        ({"attributes": {"a": "x" * 1_025}}, "bad_attributes"),
        ({"attributes": {"": "x"}}, "bad_attributes"),
        ({"attributes": {str(n): "" for n in range(65)}}, "bad_attributes"),
        ({"metadata": "text"}, "bad_metadata"),
        ({"metadata": {"source": 1}, "source": 2}, "bad_metadata"),
        ({"metadata": {"x": "y" * 70_000}}, "too_large"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": "é" * 300_000}]}, "too_large"),
        ({"messages": TURNS * 5_000}, "too_many_turns"),
        ({"reference": {"unit_tests": [""] * 70_000}}, "too_large"),
        ({"reference": {"passages": [""] * 70_000}}, "too_large"),
        (
            {
                "messages": [TURNS[0], {"role": "assistant", "content": "x" * 480 * 1024}],
                "attributes": {str(n): "x" * 1_024 for n in range(64)},
            },
            "too_large",
        ),
    ],
)
def test_what_is_no_sample_is_refused(fields, code):
    """One stable code for each way of being wrong."""
    assert refusal(line(**fields)) == code


def test_small_numbers_cannot_grow_past_the_limit():
    """Tools are measured as they will be stored, not as they came."""
    raw = line(tools="@").replace(b'"@"', b'[{"a": [' + b",".join([b"9e15"] * 90_000) + b"]}]")
    assert len(raw) < LIMITS.sample_bytes_max
    assert refusal(raw) == "too_large"


def test_a_line_over_the_limit_is_not_parsed():
    """The refusal names the setting to change."""
    with pytest.raises(Refused, match="HEADRACE_GATEWAY_LINE_BYTES_MAX"):
        parse(b"[" * 101, replace(LIMITS, line_bytes_max=100))


@pytest.mark.parametrize(
    "dataset", ["", "Demo", "../demo", "a.b", "headrace.accepted.demo", "a_b", "-a", "a-", "x" * 64, "a\n", "é"]
)
def test_path_like_and_topic_like_dataset_ids_are_refused(dataset):
    """A dataset id becomes part of a topic's name and of object keys."""
    with pytest.raises(Refused) as caught:
        check_dataset_id(dataset)
    assert caught.value.code is RefusalCode.BAD_DATASET


def test_errors_show_little_and_escape_it():
    """What was sent appears in an error quoted, short and in ASCII."""
    with pytest.raises(Refused) as caught:
        parse(line(id="\u202e" + "x" * 1_000))
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 300


# -- samples that came decoded


def decoded(**changes):
    return replace(Sample("", "", 0, "", MESSAGES), **changes)


def checked(**changes):
    return check_sample(decoded(**changes), "demo", LIMITS, "grpc")


def test_a_decoded_sample_equals_the_same_sample_as_json():
    """Protobuf and JSON are two doors to one identity."""
    fields = {"reference": {"answer": "4", "json_schema": {"a": 1}}, "tools": [{"a": 1}], "metadata": {"n": 1}}
    from_json = parse(line(**fields))
    from_proto = checked(reference=Reference("4", json_schema='{ "a": 1 }'), tools_json='[{"a" : 1}]', metadata_json='{"n": 1}')
    assert replace(from_proto, origin=from_json.origin) == from_json


def test_a_decoded_sample_keeps_its_parents_but_not_a_claimed_round():
    """What only the system knows is not believed."""
    origin = Origin(OriginKind.REFINED, ("p-1",), "r", "v", "round-7", "hard", "elsewhere")
    assert checked(origin=origin).origin == Origin(OriginKind.INGESTED, ("p-1",), "r", "v", entry="grpc")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"messages": ()}, "empty_messages"),
        ({"messages": (*MESSAGES, Message("wizard", "x"))}, "unknown_role"),
        ({"messages": (*MESSAGES, Message("user", "x\x00"))}, "control_characters"),
        ({"messages": (*MESSAGES, Message("user", "\ud800"))}, "lone_surrogate"),
        ({"messages": (MESSAGES[0], Message("assistant", "", (ToolCall("1", "", ""),)))}, "bad_tools"),
        ({"messages": (MESSAGES[0], Message("assistant", "", (ToolCall("1", "f", "\x01"),)))}, "control_characters"),
        ({"messages": MESSAGES * 501}, "too_many_turns"),
        ({"messages": (*MESSAGES, Message("user", "x" * 600_000))}, "too_large"),
        ({"messages": (*MESSAGES, Message("tool", "x", name="y" * 600_000))}, "too_large"),
        ({"dataset_id": "other"}, "bad_dataset"),
        ({"id": "a/b"}, "bad_id"),
        ({"revision": 2**31}, "bad_revision"),
        ({"content_hash": "0" * 64}, "bad_content_hash"),
        ({"tools_json": "{}"}, "bad_tools"),
        ({"reference": Reference(verifier="oracle")}, "bad_reference"),
        ({"reference": Reference(answer="\x00")}, "control_characters"),
        ({"attributes": {"a": "\x00"}}, "control_characters"),
        ({"attributes": {"a": "x" * 2_000}}, "bad_attributes"),
        ({"metadata_json": "[]"}, "bad_metadata"),
        ({"metadata_json": '{"a": NaN}'}, "bad_metadata"),
        ({"origin": Origin(parent_ids=("a/b",))}, "bad_id"),
        ({"origin": Origin(parent_ids=("a",) * 65)}, "too_large"),
        ({"origin": Origin(recipe="x" * 257)}, "too_large"),
        ({"origin": Origin(recipe="\x00")}, "control_characters"),
    ],
)
def test_a_decoded_sample_is_held_to_the_same_rules(changes, code):
    """Protobuf types say little about what is in them."""
    with pytest.raises(Refused) as caught:
        checked(**changes)
    assert caught.value.code.value == code


def test_a_right_content_hash_sent_along_is_accepted():
    """Clients may say what they mean to send."""
    digest = content_hash_of(MESSAGES, "", None)
    assert checked(content_hash=digest).content_hash == digest


def test_where_the_json_breaks_is_said_in_a_sentence():
    """Also where Python's own message ends in the middle of one."""
    with pytest.raises(Refused) as refused:
        parse(b'{"a": "b')
    assert refused.value.message == "Unterminated string at character 6"

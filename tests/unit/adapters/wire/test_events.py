import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.wire.events import Undecodable, encode, message_name
from headrace.adapters.wire.events import decode as decode_any
from headrace.core.dossiers import (
    AcceptedSample,
    CheckOutcome,
    CheckResult,
    Comparison,
    Cost,
    DatasetCommitted,
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    IndexedSample,
    Judgement,
    Neighbour,
    Placement,
    PolicyPublished,
    Rewrite,
    ScoredSample,
    Signals,
    Verdict,
)
from headrace.core.rounds.facts import RoundProgressed
from headrace.core.rounds.surveys import MeasuredSample, RefinementRequested, RoundStepRequested
from headrace.core.samples import Message, Origin, OriginKind, Reference, Sample, ToolCall
from headrace.core.topics import TOPICS
from headrace_protos.round.v1 import round_pb2
from headrace_protos.sample.v1 import dossier_pb2
from tests.fakes.bodies import BODIES, CHECKS, COSTS, DECISIONS, DOSSIER, EMBEDDINGS, NOON, PLACEMENT, SAMPLE, SIGNALS, SUBMITTED

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
MAYBE_NUMBER = st.none() | NUMBER
COUNT = st.integers(0, 2**32 - 1)
ORDER = st.none() | st.integers(0, 2**63 - 1)
BIG = st.none() | st.integers(0, 2**64 - 1)
TIME = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)

CALLS = st.builds(ToolCall, TEXT, TEXT, TEXT)
TURNS = st.builds(Message, TEXT, TEXT, st.lists(CALLS, max_size=2).map(tuple), TEXT, TEXT)
REFERENCES = st.builds(Reference, TEXT, TEXT, TEXT, TEXTS, TEXT, TEXTS)
ORIGINS = st.builds(Origin, st.sampled_from(OriginKind), TEXTS, TEXT, TEXT, TEXT, TEXT, TEXT)
SAMPLES = st.builds(
    Sample, st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True), NAME, COUNT, TEXT, st.lists(TURNS, max_size=4).map(tuple), TEXT,
    st.none() | REFERENCES, ORIGINS, st.dictionaries(TEXT, TEXT, max_size=3), TEXT,
)  # fmt: skip
JUDGEMENTS = st.builds(Judgement, TEXT, TEXT, *[MAYBE_NUMBER] * 6, TEXT)
SIGNALS_PAGES = st.builds(
    Signals, TEXT, TEXT, TEXT, MAYBE_NUMBER, MAYBE_NUMBER, COUNT, COUNT, st.booleans(), TEXT, st.none() | JUDGEMENTS
)
COST_PAGES = st.builds(Cost, TEXT, MAYBE_NUMBER, BIG, BIG, MAYBE_NUMBER, TEXT)
REWRITES = st.builds(
    Rewrite, TEXT, COUNT, TEXT, COUNT, COUNT, SAMPLES, NUMBER, TEXT, TEXT, st.binary(max_size=16), MAYBE_NUMBER, MAYBE_NUMBER,
    MAYBE_NUMBER, TEXTS, BIG, MAYBE_NUMBER, TEXT, st.lists(COST_PAGES, max_size=2).map(tuple),
)  # fmt: skip
NEIGHBOURS = st.builds(Neighbour, TEXT, COUNT, NUMBER)
PLACEMENTS = st.builds(
    Placement, st.sampled_from(DuplicateKind), st.none() | NEIGHBOURS, st.lists(NEIGHBOURS, max_size=3).map(tuple), MAYBE_NUMBER,
    COUNT, TEXT, TEXT, COUNT, ORDER, MAYBE_NUMBER,
)  # fmt: skip
RESULTS = st.builds(CheckResult, TEXT, st.sampled_from(CheckOutcome), TEXT, TEXT, MAYBE_NUMBER)
COMPARISONS = st.builds(Comparison, TEXT, MAYBE_NUMBER, TEXT, NUMBER, st.booleans())
DECISION_PAGES = st.builds(
    Decision, st.sampled_from(Verdict), TEXT, TEXT, st.lists(COMPARISONS, max_size=3).map(tuple), TEXT, TEXTS
)
DOSSIERS = st.builds(
    Dossier, SAMPLES, TIME, st.lists(SIGNALS_PAGES, max_size=2).map(tuple), st.none() | PLACEMENTS,
    st.lists(RESULTS, max_size=3).map(tuple), st.lists(DECISION_PAGES, max_size=2).map(tuple),
    st.lists(COST_PAGES, max_size=3).map(tuple), st.none() | REWRITES,
)  # fmt: skip
VECTORS = st.lists(st.integers(0, 255), max_size=4).map(lambda bytes_: bytes(bytes_ * 4))
SCORED = st.builds(
    ScoredSample, DOSSIERS, st.none() | st.builds(Embeddings, TEXT, TEXT, VECTORS, VECTORS), st.none() | TIME,
    ORDER, ORDER,
)  # fmt: skip


def decode(body_type: type, value: bytes) -> Any:
    """The decoded body, for tests that know what it is."""
    return decode_any(body_type, value)


def dossier_read(dossier: Dossier) -> Dossier:
    """A dossier as a service has it: read from bytes."""
    read: Dossier = decode(Dossier, encode(dossier))
    return read


@pytest.mark.parametrize("name", BODIES)
def test_every_body_comes_back_as_it_was(name):
    """What is encoded is what is decoded, field by field, for every type of body."""
    body = BODIES[name]
    assert decode(type(body), encode(body)) == body


@settings(max_examples=50)
@given(DOSSIERS)
def test_any_dossier_comes_back_as_it_was(dossier):
    """No text, number, time or absence is lost on the wire."""
    assert decode(Dossier, encode(dossier)) == dossier


@settings(max_examples=50)
@given(SCORED, st.none() | TIME, ORDER)
def test_a_held_sample_takes_its_new_hold_and_order(scored, held_since, order):
    """A scored sample that is read, put on hold (or let go) and written again says so, whatever it said before."""
    read = decode(ScoredSample, encode(scored))
    held = replace(read, held_since=held_since, order=order, held_behind=order)
    assert decode(ScoredSample, encode(held)) == replace(scored, held_since=held_since, order=order, held_behind=order)


def test_the_order_of_attributes_says_nothing():
    """Equal dossiers have equal bytes, also out of what carries them: a version's id follows, whichever replica cuts it."""
    names = [f"attribute {n}" for n in range(64)]
    one, other = (
        replace(SUBMITTED, sample=replace(SUBMITTED.sample, attributes=dict.fromkeys(order, "x")))
        for order in (names, names[::-1])
    )
    value = encode(one)
    assert encode(other) == value
    assert encode(decode(ScoredSample, encode(ScoredSample(other, EMBEDDINGS))).dossier) == value
    assert encode(decode(AcceptedSample, encode(AcceptedSample(other))).change) == value


@settings(max_examples=50)
@given(
    DOSSIERS,
    DOSSIERS,
    st.lists(st.sampled_from(["signals", "checks", "decisions", "costs", "placement", "sample", "submitted_at", "rewrite"])),
)
def test_pages_replaced_added_or_removed_are_written_as_they_are_now(first, second, names):
    """Whatever a service does with the pages of a dossier that it read, the output says just that."""
    read = dossier_read(first)
    changed = replace(read, **{name: getattr(second, name) for name in names})
    assert decode(Dossier, encode(changed)) == changed
    added = replace(
        read, **{name: getattr(read, name) + getattr(second, name) for name in names if isinstance(getattr(second, name), tuple)}
    )
    assert decode(Dossier, encode(added)) == added


def test_a_page_is_added_without_touching_the_bytes_that_were_read():
    """The output begins with the very bytes of the input: the sample is not built again at every hop."""
    read = dossier_read(SUBMITTED)
    value = encode(replace(read, signals=(SIGNALS,), placement=PLACEMENT, costs=COSTS))
    assert value.startswith(encode(read))
    assert decode(Dossier, value) == replace(SUBMITTED, signals=(SIGNALS,), placement=PLACEMENT, costs=COSTS)


def test_a_page_left_alone_keeps_its_unknown_fields_while_its_neighbour_is_replaced():
    """Replacing one check result rewrites that one alone."""
    message = dossier_pb2.Dossier.FromString(encode(DOSSIER))
    message.checks[0].MergeFromString(_unknown_field(b"new evidence"))
    read = decode(Dossier, message.SerializeToString())
    changed = replace(read, checks=(read.checks[0], replace(read.checks[1], evidence="other"), *read.checks[2:]))
    value = encode(changed)
    assert b"new evidence" in value
    assert decode(Dossier, value) == changed


@pytest.mark.parametrize("body_type", [Dossier, ScoredSample, AcceptedSample])
def test_fields_of_a_newer_schema_survive_a_service_that_does_not_know_them(body_type):
    """Unknown fields of the sample, of a page and of the event itself are still there after decode, a new page, encode."""
    message = dossier_pb2.Dossier.FromString(encode(replace(DOSSIER, decisions=())))
    message.sample.MergeFromString(_unknown_field(b"newer sample"))
    message.signals[0].MergeFromString(_unknown_field(b"newer signals"))
    message.MergeFromString(_unknown_field(b"newer dossier"))
    wrapped = {
        Dossier: lambda: message,
        ScoredSample: lambda: dossier_pb2.ScoredSample(dossier=message),
        AcceptedSample: lambda: dossier_pb2.AcceptedSample(accepted=message),
    }[body_type]()
    read = decode(body_type, wrapped.SerializeToString())
    if body_type is ScoredSample:
        read = replace(read, dossier=replace(read.dossier, decisions=DECISIONS))
    elif body_type is AcceptedSample:
        read = AcceptedSample(replace(read.change, decisions=DECISIONS))
    else:
        read = replace(read, decisions=DECISIONS)
    value = encode(read)
    for text in (b"newer sample", b"newer signals", b"newer dossier"):
        assert text in value
    assert decode(body_type, value) == read


@given(st.sampled_from(sorted({topic.body for topic in TOPICS} - {bytes}, key=str)), st.binary(max_size=200))
def test_random_bytes_are_undecodable_or_decode_and_nothing_else(body_type, value):
    """No bytes raise anything but Undecodable."""
    try:
        body = decode(body_type, value)
    except Undecodable:
        return
    assert isinstance(body, body_type)


@given(st.sampled_from(sorted(BODIES)), st.sampled_from(sorted(BODIES)), st.data())
def test_damaged_and_foreign_events_are_undecodable_or_decode_and_nothing_else(written, expected, data):
    """A real event that was cut, changed in one byte, or meant for another topic raises nothing but Undecodable."""
    value = bytearray(encode(BODIES[written]))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255))
    del value[data.draw(st.integers(at, len(value))) :]
    body_type = type(BODIES[expected])
    try:
        body = decode(body_type, bytes(value))
    except Undecodable:
        return
    assert isinstance(body, body_type)


def _dossier_message(**fields):
    message = dossier_pb2.Dossier.FromString(encode(SUBMITTED))
    for name, value in fields.items():
        getattr(message, name).CopyFrom(value) if hasattr(value, "CopyFrom") else getattr(message, name).extend(value)
    return message


def _with_sample(**fields):
    message = dossier_pb2.Dossier.FromString(encode(SUBMITTED))
    for name, value in fields.items():
        setattr(message.sample, name, value)
    return message


def _numbered(message: Any, **numbers: int) -> Any:
    for name, number in numbers.items():
        setattr(message, name, number)
    return message


def _without(name):
    message = dossier_pb2.Dossier.FromString(encode(SUBMITTED))
    message.ClearField(name)
    return message


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (_without("sample"), "without a sample"),
        (_without("submitted_at"), "submitted_at is missing"),
        (_with_sample(id=""), "sample.id is empty"),
        (_with_sample(dataset_id=""), "sample.dataset_id ''"),
        (_with_sample(dataset_id="../../etc"), "must be lower-case letters"),
        (_with_sample(dataset_id="x" * 10_000), "must be lower-case letters"),
        (_dossier_message(checks=[_numbered(dossier_pb2.CheckResult(), outcome=9)]), "checks.outcome 9"),
        (_dossier_message(checks=[dossier_pb2.CheckResult(check="math")]), "checks.outcome 0"),
        (_dossier_message(decisions=[_numbered(dossier_pb2.Decision(), verdict=17)]), "decisions.verdict 17"),
        (_dossier_message(placement=dossier_pb2.Placement(duplicate_kind="twin")), "'twin' is not known"),
        (_dossier_message(signals=[dossier_pb2.Signals(loss_mean=math.nan)]), "signals.loss_mean is nan"),
        (_dossier_message(signals=[dossier_pb2.Signals(loss_std=math.inf)]), "signals.loss_std is inf"),
        (_dossier_message(costs=[dossier_pb2.Cost(money=-math.inf)]), "costs.money is -inf"),
        (_dossier_message(placement=dossier_pb2.Placement(density=math.nan)), "placement.density is nan"),
    ],
)
def test_what_cannot_be_says_what_is_wrong(message, says):
    """A missing or impossible part is named in the error, in a text of bounded length."""
    with pytest.raises(Undecodable) as error:
        decode(Dossier, message.SerializeToString())
    assert says in str(error.value)
    assert len(str(error.value)) < 300


def _progressed(**fields: Any) -> bytes:
    return round_pb2.RoundProgressed(**{"dataset_id": "arithmetic", "round_id": "r", **fields}).SerializeToString()


@pytest.mark.parametrize(
    ("body_type", "value", "says"),
    [
        (RoundProgressed, _progressed(), "fact is missing or not known"),
        (RoundProgressed, _progressed(round_id="", deadline=round_pb2.DeadlinePassed()), "round_id is empty"),
        (RoundProgressed, _progressed(asked=round_pb2.RoundAsked(action="explode")), "action 'explode' is not known"),
        (
            RoundProgressed,
            _progressed(ended=round_pb2.RewriteEnded(axis="hard", ending="rejected", money=math.inf)),
            "money is inf",
        ),
        (RoundProgressed, _progressed(started=round_pb2.RoundStarted()), "survey is missing"),
        (RoundStepRequested, b"", "step is missing"),
        (
            RoundStepRequested,
            round_pb2.RoundStepRequested(eviction=round_pb2.EvictionRequested()).SerializeToString(),
            "dataset_id",
        ),
        (MeasuredSample, b"", "survey.dataset_id"),
        (RefinementRequested, b"", "rewrite.parent.dataset_id"),
        (Dossier, b"", "without a sample"),
        (Dossier, b"\xff\xff\xff", "not a headrace_protos.sample.v1.Dossier: 3 bytes"),
        (Dossier, encode(SUBMITTED)[:-1], "do not parse"),
        (Dossier, encode(SUBMITTED).replace(b"problem-7", b"problem-\xff"), "do not parse"),
        (Dossier, b'{"messages": []}', "do not parse"),
        (ScoredSample, encode(BODIES["DatasetCutRequested"]), "do not parse"),
        (ScoredSample, b"", "without a dossier"),
        (IndexedSample, b"", "dataset_id ''"),
        (AcceptedSample, b"", "neither an acceptance nor a retraction"),
        (PolicyPublished, b"", "dataset_id ''"),
        (DatasetCommitted, encode(replace(BODIES["DatasetCommitted"], version="")), "version is empty"),
        (IndexedSample, encode(replace(BODIES["IndexedSample"], embeddings=replace(EMBEDDINGS, prompt=b"abc"))), "3 bytes"),
    ],
)
def test_bytes_of_nothing_or_of_something_else_say_so(body_type, value, says):
    """Garbled, truncated, invalid UTF-8, empty and foreign bytes each give one clear error."""
    with pytest.raises(Undecodable, match=says):
        decode(body_type, value)


@given(st.floats(min_value=0, max_value=253_402_300_000, allow_nan=False))
def test_times_survive_to_the_nanosecond(seconds):
    """A time is the same time after the wire, within a nanosecond; for today's clocks it is the very same float."""
    read = dossier_read(replace(SUBMITTED, submitted_at=seconds)).submitted_at
    assert abs(read - seconds) <= 1e-9
    if seconds > 10_000_000:
        assert read == seconds


def test_raw_bytes_pass_through():
    """Raw intake is not looked at."""
    assert encode(b"\x00raw") == b"\x00raw"
    assert decode(bytes, b"\x00raw") == b"\x00raw"


def test_message_names_carry_their_version():
    """An event's type is the full name of its message."""
    assert message_name(Dossier) == "headrace_protos.sample.v1.Dossier"
    assert message_name(PolicyPublished) == "headrace_protos.control.v1.PolicyPublished"
    assert message_name(bytes)


def test_types_that_are_no_events_are_refused():
    """A programmer's mistake is a TypeError, never a dead letter."""
    for attempt in (lambda: encode({}), lambda: decode(dict, b""), lambda: message_name(str)):
        with pytest.raises(TypeError, match="no wire form"):
            attempt()


def test_lone_surrogates_are_refused_when_written():
    """A text that is no Unicode cannot become an event."""
    with pytest.raises(ValueError, match="surrogates"):
        encode(replace(SUBMITTED, sample=replace(SAMPLE, messages=(Message("user", "\ud800"),))))


def test_every_topic_has_a_wire_form():
    """No topic is declared whose body cannot be written."""
    assert all(message_name(topic.body) for topic in TOPICS)


def test_an_empty_dossier_has_no_pages():
    """Absence stays absence: no default page, number or decision is made up."""
    read = dossier_read(SUBMITTED)
    assert (read.signals, read.placement, read.checks, read.decisions, read.costs) == ((), None, (), (), ())
    assert read.submitted_at == NOON
    assert dossier_read(DOSSIER).checks == CHECKS


def _unknown_field(value: bytes) -> bytes:
    """Field 999, length-delimited, as a newer schema might have it."""
    tag = (999 << 3) | 2
    return bytes([tag & 0x7F | 0x80, tag >> 7, len(value)]) + value

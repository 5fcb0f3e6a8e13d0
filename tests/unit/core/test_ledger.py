"""The account of samples closes, in whatever order it is read, and tells what it closes with."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.dossiers import Decision, Dossier, Verdict
from headrace.core.ledger import Ledger
from headrace.core.retractions import RetractionRequested
from headrace.core.samples import Message, Sample


def dossier(sample_id: str = "a", dataset: str = "d") -> Dossier:
    sample = Sample(dataset, sample_id, 0, f"hash-{sample_id}", (Message("user", "q"), Message("assistant", "a")))
    return Dossier(sample=sample, submitted_at=0.0)


def decided(of: Dossier, verdict: Verdict, reason: str = "near_duplicate") -> Dossier:
    return replace(of, decisions=(Decision(verdict, reason, "p1"),))


def test_a_sample_without_an_end_is_in_flight():
    """What was submitted and has not ended is in flight."""
    ledger = Ledger()
    ledger.submitted(dossier())
    assert ledger.account().in_flight == 1


def test_a_redriven_dead_letter_that_was_decided_counts_once():
    """A dead letter that came back and was accepted is accepted, not both."""
    ledger = Ledger()
    ledger.submitted(dossier())
    ledger.dead_lettered(dossier(), "scoring")
    assert ledger.account().dead_letters_by_service == {"scoring": 1}
    ledger.decided(decided(dossier(), Verdict.ACCEPTED, "accepted"))
    account = ledger.account()
    assert (account.submitted, account.accepted, account.dead_lettered, account.in_flight) == (1, 1, 0, 0)


def test_one_dataset_is_told_from_another():
    """The account of a dataset holds its own samples only."""
    ledger = Ledger()
    ledger.submitted(dossier("a", "one"))
    ledger.submitted(dossier("a", "two"))
    ledger.decided(decided(dossier("a", "two"), Verdict.REJECTED))
    assert ledger.account("one").in_flight == 1
    assert ledger.account("two").reasons == {"near_duplicate": 1}
    assert ledger.datasets() == ["one", "two"]


def test_retracted_samples_are_counted_apart_and_stay_among_the_accepted():
    """Whatever is read first, each accepted sample that a retraction covers counts once, and the account is as it was."""
    retraction = RetractionRequested("d", "a", 0, "licence", "r", "ada")
    steps: list[RetractionRequested | Dossier] = [
        decided(dossier("a"), Verdict.ACCEPTED, "accepted"),
        retraction,
        replace(retraction, sample_id="unknown"),
        replace(retraction, dataset_id="other"),
        decided(dossier("a"), Verdict.REJECTED, "retracted"),
        decided(dossier("b"), Verdict.ACCEPTED, "accepted"),
    ]
    for order in (1, -1):
        ledger = Ledger()
        for step in steps[::order]:
            if isinstance(step, Dossier):
                ledger.decided(step)
            else:
                ledger.retracted(step)
        account = ledger.account("d")
        assert (account.ended_unsubmitted, account.accepted, account.rejected, account.retracted) == (3, 2, 1, 1)


def test_a_sample_decided_more_often_than_submitted_is_told_and_hides_none_in_flight():
    """One decision too many does not make up for one that is missing."""
    ledger = Ledger()
    for sample_id in "aab":
        ledger.submitted(dossier(sample_id))
    ledger.decided(decided(dossier("a"), Verdict.ACCEPTED, "accepted"))
    ledger.decided(decided(dossier("a"), Verdict.REJECTED, "already_admitted"))
    assert (ledger.account().decided_again, ledger.account().in_flight) == (0, 1)
    ledger.decided(decided(dossier("a"), Verdict.REJECTED, "already_admitted"))
    account = ledger.account()
    assert (account.submitted, account.decided_again, account.ended_unsubmitted, account.in_flight) == (3, 1, 0, 1)


def test_what_ends_without_a_submission_is_told():
    """Decided or dead-lettered, but never seen to pass the door."""
    ledger = Ledger()
    ledger.decided(decided(dossier("a"), Verdict.ACCEPTED, "accepted"))
    ledger.dead_lettered(dossier("b"), "scoring")
    account = ledger.account()
    assert (account.submitted, account.ended_unsubmitted, account.decided_again, account.in_flight) == (0, 2, 0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["submitted", "accepted", "rejected", "dead"]))))
def test_the_account_always_closes(steps):
    """Submissions and what is beyond them equal ends and what is in flight, none of them negative, in any order of reading."""
    ledger = Ledger()
    for sample_id, step in steps:
        match step:
            case "submitted":
                ledger.submitted(dossier(sample_id))
            case "accepted":
                ledger.decided(decided(dossier(sample_id), Verdict.ACCEPTED, "accepted"))
            case "rejected":
                ledger.decided(decided(dossier(sample_id), Verdict.REJECTED))
            case _:
                ledger.dead_lettered(dossier(sample_id), "scoring")
    account = ledger.account()
    beyond = (account.decided_again, account.ended_unsubmitted)
    assert min(account.in_flight, *beyond) >= 0
    assert account.submitted + sum(beyond) == account.accepted + account.rejected + account.dead_lettered + account.in_flight

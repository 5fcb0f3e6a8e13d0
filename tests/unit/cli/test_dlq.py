"""Which dead letters a command means."""

from dataclasses import replace

import pytest

from headrace.adapters.wire import events as wire
from headrace.cli.dlq import _chosen_by
from headrace.core.dossiers import ScoredSample
from headrace.core.events import Position
from headrace.core.topics import CUT_REQUESTED, INGEST, PLACED, SCORED
from headrace.runtime.delivery.redrive import DeadLetter
from tests.fakes.evidence import dossier

BARE = DeadLetter(Position("a.dlq", 0, 7), "svc", None, 0, 1, "Odd", "", b"notes", b"", {})


def of(topic: str, value: bytes = b"", **headers: str) -> DeadLetter:
    return replace(BARE, origin=Position(topic, 0, 1), value=value, headers=headers)


@pytest.mark.parametrize(
    ("letter", "dataset"),
    [
        (of(PLACED.name, wire.encode(dossier())), dossier().sample.dataset_id),
        (of(SCORED.name, wire.encode(ScoredSample(dossier(), None))), dossier().sample.dataset_id),
        (of(CUT_REQUESTED.name), "notes"),
        (of(INGEST.name, b"{", dataset="poems"), "poems"),
        (of(INGEST.name, b"{", ce_dataset="poems"), "poems"),
    ],
)
def test_a_letter_belongs_to_the_dataset_that_its_event_names(letter: DeadLetter, dataset: str):
    """At the door, where no event was made of it, to the one in the sender's header."""
    assert _chosen_by("", dataset, None)(letter)
    assert not _chosen_by("", "another", None)(letter)


def test_letters_are_chosen_by_error_class_and_offset():
    """Every condition must hold; none chooses all."""
    assert _chosen_by("", "", None)(BARE)
    assert _chosen_by("Odd", "", [3, 7])(BARE)
    assert not _chosen_by("Even", "", [7])(BARE)
    assert not _chosen_by("Odd", "", [3])(BARE)

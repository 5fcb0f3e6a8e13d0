"""Kill, pause and restart everything while samples stream in: nothing is lost and nothing counts twice."""

import asyncio
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.kafka.streams import read_topic
from headrace.core.dossiers import Dossier, Verdict
from headrace.core.ledger import Account, Identity, identity_of
from headrace.core.topics import DECIDED, SUBMITTED, VALIDATED, accepted_topic
from tests.e2e import aftermath, doors
from tests.e2e.chaos import Chaos
from tests.e2e.spine import Spine
from tests.e2e.workload import NEAR_POLICY, Workload, reworded, workload
from tests.fakes.collector import Collector

pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

SAMPLES = 2_000
SEEDS = (1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 11)))
STORM_S = 30.0
TRICKLE_S = 1.0
SERVICES = ("gateway", "scoring", "diversity", "admission", "validation", "datasets")


@dataclass(frozen=True, slots=True)
class Ends:
    """How a workload ended: which identities were decided, which group each accepted one stands for, how often one was seen.

    `submitted` says how often the spine was given each id through which entry, `refused_writes` how often the object store
    refused one meanwhile.
    """

    submitted: Counter[tuple[str, str]]
    decided: frozenset[Identity]
    accepted_groups: Counter[str]
    seen_by_subscriber: Counter[tuple[str, int]]
    accepted: frozenset[Identity]
    reasons: Mapping[str, int]
    refused_writes: int


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    """One spine for all seeds; each has a dataset of its own."""
    with Spine.up(tmp_path_factory.mktemp("spine"), gated=True) as spine:
        yield spine


@pytest.fixture(scope="module")
def work() -> Workload:
    """The same samples for every run."""
    return workload(SAMPLES, seed=0, edited=0.05)


@pytest.fixture(scope="module")
def calm(spine: Spine, work: Workload) -> Ends:
    """How the workload ends when nothing is disturbed."""
    return run(spine, "calm", work)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_the_same_samples_end_the_same_way(spine: Spine, work: Workload, calm: Ends, seed: int):
    """Under kills, zombies, absent servers and refused writes: same decided, same accepted, each seen once by a subscriber.

    Which member stands for a group of look-alikes may differ.
    """
    stormy = run(spine, f"storm-{seed}", work, chaos=storm(spine, seed))
    assert {identity[1:] for identity in stormy.decided} == {identity[1:] for identity in calm.decided}
    assert stormy.accepted_groups == calm.accepted_groups
    assert stormy.refused_writes > 0
    assert "http" in {entry for entry, _ in stormy.submitted - doors.sent(work.lines)}  # results were lost, and lines sent again
    assert max(stormy.seen_by_subscriber.values()) == 1
    assert set(stormy.seen_by_subscriber) == {(identity[1], identity[2]) for identity in stormy.accepted}


@pytest.mark.slow
def test_a_cluster_of_three_brokers_loses_one_after_the_other(tmp_path: Path, work: Workload):
    """Three replicas, two in sync, and the same storm with each broker killed in turn: the samples end as in the calm."""
    with Spine.up(tmp_path, {"HEADRACE_REPLICATION_FACTOR": "3"}, brokers=3, gated=True) as cluster:
        calm = run(cluster, "calm", work)
        stormy = run(cluster, "storm", work, chaos=storm(cluster, seed=1))
    assert {identity[1:] for identity in stormy.decided} == {identity[1:] for identity in calm.decided}
    assert stormy.accepted_groups == calm.accepted_groups
    assert max(stormy.seen_by_subscriber.values()) == 1


def test_the_calm_run_ends_as_the_workload_was_made(calm: Ends, work: Workload):
    """Of each group of look-alikes one is accepted, and no sample with a wrong answer or too short a response."""
    assert calm.accepted_groups == dict.fromkeys(work.good, 1)
    assert calm.reasons["near_duplicate"] > 0
    assert calm.reasons["exact_duplicate"] > 0
    assert {identity[1] for identity in calm.decided} == set(work.group_of)


@pytest.fixture(scope="module")
def collector(spine: Spine, calm: Ends) -> Iterator[Collector]:
    """The calm dataset's index is made anew while all services are down; they come up again and tell a collector what they do."""
    aftermath.until(lambda: aftermath.has_caught_up(spine, "datasets"))  # else what it has not staged yet would be forgotten
    for name in SERVICES:
        spine.kill(name)
    there = aftermath.indexed(spine, "calm")
    assert there == aftermath.rebuilt(spine, "calm") == aftermath.indexed(spine, "calm") == len(calm.accepted)
    with Collector.serving() as collector:
        for name in SERVICES:
            spine.restart(name, {"HEADRACE_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "200"})
        yield collector


@pytest.mark.usefixtures("collector")
def test_a_rebuilt_index_knows_what_was_accepted(spine: Spine, work: Workload, calm: Ends):
    """A copy of an accepted sample is one still, by its hash, and so is one with a word replaced, by its embedding."""
    accepted = {sample_id for _, sample_id, *_ in calm.accepted}
    line = next(line for line in work.lines if line["id"] in work.good & accepted)
    aftermath.submit(spine, "calm", [line | {"id": "copy"}, reworded(random.Random(0), line) | {"id": "reworded"}])
    account = asyncio.run(spine.settled("calm", SAMPLES + 2))
    more = Counter(account.reasons) - Counter(calm.reasons)
    assert more == {"exact_duplicate": 1, "near_duplicate": 1}
    assert account.accepted == len(calm.accepted)


def test_one_trace_tells_of_every_service_that_a_sample_passed(spine: Spine, work: Workload, collector: Collector):
    """From the door to the dataset's staging: each hop continues the span of the one before, and is linked to its batch."""
    line = next(line for line in work.lines if line["id"] in work.good)
    aftermath.create(spine, "traced", NEAR_POLICY)
    aftermath.submit(spine, "traced", [line | {"id": "traced"}])

    def traced() -> list[list[tuple[str, Any]]]:
        return aftermath.traces_of(collector, "traced")

    aftermath.until(lambda: {name for trace in traced() for name, _ in trace} >= {*SERVICES})
    [trace] = traced()
    assert {name for name, _ in trace} == {*SERVICES}
    ids = {span.span_id: name for name, span in trace}
    [(door, _)] = [each for each in trace if each[1].parent_span_id not in ids]
    assert door == "gateway"
    handled = {(name, span.span_id) for name, span in collector.spans() if span.name.startswith("handle ")}
    processed = [(name, span) for name, span in trace if span.name.startswith("process ")]
    assert {name for name, _ in processed} == {*SERVICES} - {"gateway"}
    assert all((name, link.span_id) in handled for name, span in processed for link in span.links)
    assert all(span.links for _, span in processed)


def test_a_dead_letter_is_shown_and_ends_once_it_is_sent_back(spine: Spine, work: Workload):
    """A check that cannot be made parks the sample; under a policy without that check the very same letter is decided."""
    line = next(line for line in work.lines if line["id"] in work.good)
    aftermath.create(spine, "letters", NEAR_POLICY)
    aftermath.submit(spine, "letters", [line | {"id": "letter", "reference": {"answer": "no such number", "verifier": "math"}}])
    account = asyncio.run(spine.settled("letters", 1))
    assert account.dead_letters_by_service == {"admission": 1}
    [shown] = [each for each in aftermath.dead_letters(spine) if each["body"]["sample"]["id"] == "letter"]
    assert (shown["service"], shown["error_class"], shown["origin"]["topic"]) == ("admission", "check_not_made", VALIDATED.name)
    assert aftermath.redriven(spine, "elsewhere") == 0
    aftermath.apply(spine, "letters", NEAR_POLICY.replace("- check: math", "- check: math\n    required: false"))

    def ended() -> bool:
        aftermath.redriven(spine, "letters")  # until admission knows the policy, the letter comes back
        return not asyncio.run(spine.settled("letters", 1)).dead_lettered

    aftermath.until(ended)
    account = asyncio.run(spine.settled("letters", 1))
    assert (account.submitted, account.accepted, account.dead_lettered) == (1, 1, 0)
    assert aftermath.redriven(spine, "letters") == 0


def storm(spine: Spine, seed: int) -> Chaos:
    """Every service killed once, one paused, servers absent, writes refused, every broker killed; then services, on and on."""
    harms = [("kill", name) for name in (*SERVICES, *spine.brokers)]
    harms += [("absence", "triton"), ("absence", "object-store"), ("refusal", "object-store")]
    return Chaos(spine, random.Random(seed), [*harms, ("pause", random.Random(seed).choice(SERVICES))], SERVICES)


def run(spine: Spine, dataset: str, work: Workload, chaos: Chaos | None = None) -> Ends:
    """Submits the workload to a dataset of its own, under chaos if any, and waits until every sample has ended."""
    policy = spine.folder / "policy.yaml"
    policy.write_text(NEAR_POLICY)
    spine.headrace("dataset", "create", dataset, "--file", str(policy))
    began, refused = time.monotonic(), _refused_writes(spine)
    _submit(spine, dataset, work, chaos)
    submitted_s = time.monotonic() - began
    account = asyncio.run(spine.settled(dataset, SAMPLES))
    refused = _refused_writes(spine) - refused
    ends = asyncio.run(_ends(spine, dataset, work, account, refused))
    sys.stderr.write(
        f"\n{dataset}: submitted {account.submitted} {dict(Counter(entry for entry, _ in ends.submitted.elements()))} = "
        f"accepted {account.accepted} + rejected {account.rejected} {account.reasons} + "
        f"dead-lettered {account.dead_lettered} + in flight {account.in_flight}; decided again {account.decided_again}, "
        f"never submitted {account.ended_unsubmitted}; {refused} writes refused; {submitted_s:.0f} s to submit, "
        f"{time.monotonic() - began:.0f} s in all; harm: {dict(chaos.done) if chaos else 'none'}\n"
    )
    sent = doors.sent(work.lines)
    assert sent <= ends.submitted, sent - ends.submitted
    assert set(ends.submitted) == set(sent)
    assert ends.submitted.total() == account.submitted == account.accepted + account.rejected + account.dead_lettered
    assert account.dead_lettered == 0, account.dead_letters_by_service
    assert (account.decided_again, account.ended_unsubmitted) == (0, 0)
    return ends


def _submit(spine: Spine, dataset: str, work: Workload, chaos: Chaos | None) -> None:
    """A share through each door, by clients that send again what was not acknowledged; slowly enough for chaos to have its time.

    The last of them trickle in until all harm is done: each meets samples on their way, however long those before it took.
    """
    with doors.clients(spine, dataset, broken=chaos is not None) as clients:
        feeder = threading.Thread(target=_feed, args=(clients, work, chaos))
        feeder.start()
        if chaos is not None:
            chaos.rage(feeder)
        feeder.join()
        for client in clients:
            client.join()
    aftermath.until(lambda: aftermath.has_caught_up(spine, "gateway"))  # what Kafka has of a producer is not submitted yet


def _feed(clients: Sequence[doors.Client], work: Workload, chaos: Chaos | None) -> None:
    pause_s = STORM_S / len(work.lines) if chaos else 0.0
    for number, line in enumerate(work.lines):
        clients[doors.share_of(number)].send(line)
        trickles = chaos is not None and not chaos.has_done_all and number > len(work.lines) * 0.9
        time.sleep(TRICKLE_S if trickles else pause_s)
    for client in clients:
        client.end()


def _refused_writes(spine: Spine) -> int:
    return spine.store_gate.refused if spine.store_gate is not None else 0


async def _ends(spine: Spine, dataset: str, work: Workload, account: Account, refused_writes: int) -> Ends:
    kafka = spine.environment["HEADRACE_KAFKA"]
    submitted: Counter[tuple[str, str]] = Counter()
    async for event in read_topic(SUBMITTED, kafka, until_now=True):
        if event.body.sample.dataset_id == dataset:
            submitted[event.body.sample.origin.entry, event.body.sample.id] += 1
    decided: dict[Identity, Dossier] = {}
    async for event in read_topic(DECIDED, kafka, until_now=True):
        dossier = event.body
        if dossier.sample.dataset_id == dataset:
            identity = identity_of(dossier)
            if dossier.decisions[-1].verdict is Verdict.ACCEPTED or identity not in decided:
                decided[identity] = dossier
    accepted = {i for i, dossier in decided.items() if dossier.decisions[-1].verdict is Verdict.ACCEPTED}
    seen: Counter[tuple[str, int]] = Counter()
    async for event in read_topic(accepted_topic(dataset), kafka, until_now=True):
        sample = event.body.change.sample
        seen[sample.id, sample.revision] += 1
    groups = Counter(work.group_of[i[1]] for i in accepted)
    return Ends(submitted, frozenset(decided), groups, seen, frozenset(accepted), account.reasons, refused_writes)

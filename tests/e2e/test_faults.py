"""Kill, pause and restart everything while samples stream in: nothing is lost and nothing counts twice."""

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.adapters.kafka.streams import read_topic
from headrace.core.dossiers import Dossier, Verdict
from headrace.core.ledger import Account, Identity, identity_of
from headrace.core.topics import DECIDED, accepted_topic
from tests.e2e.chaos import Chaos
from tests.e2e.spine import Spine
from tests.e2e.workload import NEAR_POLICY, Workload, workload

pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

SAMPLES = 2_000
SEEDS = (1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 11)))
STORM_S = 30.0
TRICKLE_S = 1.0
SERVICES = ("gateway", "scoring", "diversity", "admission", "validation", "datasets")


@dataclass(frozen=True, slots=True)
class Ends:
    """How a workload ended: which identities were decided, which group each accepted one stands for, how often one was seen.

    `refused_writes` says how often the object store refused one meanwhile.
    """

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
        f"\n{dataset}: submitted {account.submitted} = accepted {account.accepted} + rejected {account.rejected} "
        f"{account.reasons} + dead-lettered {account.dead_lettered} + in flight {account.in_flight}; "
        f"decided again {account.decided_again}, never submitted {account.ended_unsubmitted}; "
        f"{refused} writes refused; {submitted_s:.0f} s to submit, "
        f"{time.monotonic() - began:.0f} s in all; harm: {dict(chaos.done) if chaos else 'none'}\n"
    )
    assert account.dead_lettered == 0, account.dead_letters_by_service
    assert (account.decided_again, account.ended_unsubmitted) == (0, 0)
    return ends


def _submit(spine: Spine, dataset: str, work: Workload, chaos: Chaos | None) -> None:
    """Through the client, which sends again what was not acknowledged; slowly enough for chaos to have its time.

    The last of them trickle in until all harm is done: each meets samples on their way, however long those before it took.
    """
    process = subprocess.Popen(
        (sys.executable, "-m", "headrace.cli.main", "submit", "--dataset", dataset, "--patience", "240", "-"),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=spine.environment_of_commands(), text=True,
    )  # fmt: skip
    feeder = threading.Thread(target=_feed, args=(process, work, chaos))
    feeder.start()
    if chaos is not None:
        chaos.rage(feeder)
    feeder.join()
    assert process.wait(300) == 0


def _feed(process: subprocess.Popen[str], work: Workload, chaos: Chaos | None) -> None:
    assert process.stdin is not None
    pause_s = STORM_S / len(work.lines) if chaos else 0.0
    for number, line in enumerate(work.lines):
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        trickles = chaos is not None and not chaos.has_done_all and number > len(work.lines) * 0.9
        time.sleep(TRICKLE_S if trickles else pause_s)
    process.stdin.close()


def _refused_writes(spine: Spine) -> int:
    return spine.store_gate.refused if spine.store_gate is not None else 0


async def _ends(spine: Spine, dataset: str, work: Workload, account: Account, refused_writes: int) -> Ends:
    kafka = spine.environment["HEADRACE_KAFKA"]
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
    return Ends(frozenset(decided), groups, seen, frozenset(accepted), account.reasons, refused_writes)

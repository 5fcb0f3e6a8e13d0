"""The handlers of datasets on a store in memory, for tests."""

import itertools

from headrace.adapters.rounds.calibrations_due import CalibrationsDue
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.core.dossiers import DatasetCommitted, DatasetCutRequested
from headrace.core.events import Event, Position
from headrace.core.policies import Policy, VersionRules
from headrace.core.reasons import Reason
from headrace.core.rounds.standing import StandingPolicy
from headrace.core.topics import COMMITTED, CUT_REQUESTED, DECIDED
from headrace.core.versions import RowKind
from services.datasets.handlers import Datasets
from tests.fakes.decisions import DATASET, dossier
from tests.fakes.object_store import FakeObjectStore


class Measured:
    def __init__(self):
        self.rows, self.cuts = {}, []

    def staged(self, rows, size_bytes):
        assert size_bytes > 0
        for verdict, count in rows.items():
            self.rows[verdict] = self.rows.get(verdict, 0) + count

    def cut(self, dataset_id, *, new, seconds):
        self.cuts.append((dataset_id, new))


class World:
    """The service's handlers on a fake store, with policies, a clock, and topics that count offsets; `rounds` change datasets."""

    def __init__(self, standing: StandingPolicy | None = None, **rules):
        self.objects = FakeObjectStore()
        self.cutter = VersionCutter(self.objects, CutSettings(embeddings_wait_s=0))
        self.policies = {DATASET: Policy(versions=VersionRules(**rules), standing=standing or StandingPolicy())}
        self.measured = Measured()
        self.slept: list[float] = []
        self.settled = 0
        self.now = 100.0
        self.offsets: dict[tuple[str, int], itertools.count[int]] = {}
        self.rounds: dict[str, str] = {}
        self.datasets = Datasets(
            staging=self.cutter.staging, cutter=self.cutter, policy_of=self.policies.get, measures=self.measured,
            settle=self.settle, calibrations=CalibrationsDue(self.cutter.versions, self.cutter.staging), pace_s=0.5,
            clock=lambda: self.now, sleep=self.sleep, round_of=self.round_of,
        )  # fmt: skip

    async def settle(self):
        self.settled += 1

    async def round_of(self, dataset_id):
        return self.rounds.get(dataset_id, "")

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def event(self, topic, body, *, partition=2, read_from=None, time=1_000.0):
        name = read_from or topic.name
        offset = self.offsets.setdefault((name, partition), itertools.count())
        position = Position(name, partition, next(offset))
        return Event(f"event-{name}-{position.offset}", topic.name, topic.key_of(body), body, time, position)

    def decided(self, *ids, reason=Reason.ACCEPTED, **more):
        return [self.event(DECIDED, dossier(sample_id, 0, reason), **more) for sample_id in ids]

    def request(self, by="ada", **more):
        return self.event(CUT_REQUESTED, DatasetCutRequested(DATASET, "r", by), **more)

    async def accepted(self):
        version = await self.cutter.versions.version(DATASET)
        batches = [batch async for batch in self.cutter.versions.rows(version.manifest, RowKind.ACCEPTED, ["sample_id"])]
        return sorted(value for batch in batches for value in batch["sample_id"].to_pylist())


def committed(result) -> list[DatasetCommitted]:
    return [send.body for send in result.sends if send.topic is COMMITTED]


def requests(results) -> list[DatasetCutRequested]:
    return [send.body for result in results for send in result.sends if send.topic is CUT_REQUESTED]

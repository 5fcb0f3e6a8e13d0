"""What people do when the storm is over: build an index again, follow a sample's trace, send dead letters back."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.adapters.kafka.admin import consumer_groups
from headrace.adapters.kafka.record_lag import lags
from headrace.core.topics import VALIDATED, dlq_topic_name
from headrace.runtime.telemetry import Attribute
from tests.e2e.round_cases import done
from tests.e2e.spine import Spine
from tests.fakes.collector import Collector, texts

LETTERS = dlq_topic_name(VALIDATED.name, "admission")
_WAIT_S_MAX = 120.0


def submit(spine: Spine, dataset: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Sends samples to a dataset that there is."""
    done(spine, "submit", "--dataset", dataset, "-", stdin="".join(json.dumps(line) + "\n" for line in lines))


def create(spine: Spine, dataset: str, policy: str) -> None:
    """A dataset under this policy."""
    done(spine, "dataset", "create", dataset, "--file", _file(spine, dataset, policy))


def apply(spine: Spine, dataset: str, policy: str) -> None:
    """From here on the dataset has this policy; services learn of it one by one."""
    done(spine, "policy", "apply", "--dataset", dataset, "--file", _file(spine, dataset, policy))


def until(holds: Callable[[], bool]) -> None:
    """Looks again and again until it is so."""
    deadline = time.monotonic() + _WAIT_S_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def has_caught_up(spine: Spine, service: str) -> bool:
    """Whether the service has read all there is."""
    groups = [group for group in consumer_groups() if group[0].partition(".")[0] == service]
    return not sum(lag.records for lag in asyncio.run(lags(spine.environment["HEADRACE_KAFKA"], groups)))


def indexed(spine: Spine, dataset: str) -> int:
    """How many accepted samples of the dataset the index holds; diversity must not run."""
    rows = json.loads(done(spine, "index", "show", "--json"))
    return sum(row["accepted"] for row in rows if row["dataset"] == dataset)


def rebuilt(spine: Spine, dataset: str) -> int:
    """How many accepted samples were put into the dataset's index, which was emptied first; diversity must not run."""
    built = json.loads(done(spine, "index", "rebuild", dataset, "--clear", "--json"))
    return int(built["accepted"])


def traces_of(collector: Collector, sample_id: str) -> list[list[tuple[str, Any]]]:
    """The traces that name the sample: in each, services and their spans."""
    spans = collector.spans()
    named = {span.trace_id for _, span in spans if texts(span.attributes).get(Attribute.SAMPLE) == sample_id}
    return [[each for each in spans if each[1].trace_id == trace_id] for trace_id in named]


def dead_letters(spine: Spine) -> list[dict[str, Any]]:
    """What `headrace dlq show` tells of the letters of samples whose checks could not be made."""
    return [json.loads(line) for line in done(spine, "dlq", "show", LETTERS, "--limit", "1000", "--json").splitlines()]


def redriven(spine: Spine, dataset: str) -> int:
    """How many of the dataset's letters among them were sent back."""
    return int(json.loads(done(spine, "dlq", "redrive", LETTERS, "--dataset", dataset, "--json"))["redriven"])


def _file(spine: Spine, dataset: str, policy: str) -> str:
    file = spine.folder / f"{dataset}.yaml"
    file.write_text(policy)
    return str(file)

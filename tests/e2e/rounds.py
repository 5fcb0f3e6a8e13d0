"""A whole round on a spine: samples with spread-out signals, a version of them, the round's end, and all that it came to."""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.adapters.object_store import open_object_store
from headrace.adapters.rounds.round_states import RoundStates
from headrace.adapters.versions.store import VersionStore
from headrace.core.ledger import Account
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.stored import selection_key, thresholds_key
from headrace.core.versions import RowKind
from tests.e2e.mending import Mender
from tests.e2e.spine import Spine

SAMPLES = 120
CALLS_IN_FLIGHT = 4
SETTINGS = {
    "HEADRACE_CHAT_CONCURRENCY": str(CALLS_IN_FLIGHT),
    "HEADRACE_CONTROLLER_ROUND_PAGE_ROWS": "8",
    "HEADRACE_CONTROLLER_ROUND_TICK_S": "1",
    "HEADRACE_DATASETS_PACE_S": "0.1",
    "HEADRACE_DATASETS_SETTLE_S_MAX": "120",  # a version of everything decided before, however long the service was away
    "HEADRACE_DATASETS_SURVEY_PAGE_ROWS_MAX": "20",
}
"""Small pages, so that there is something between two of them."""
_ROUND_S_MAX = 900.0
_OBJECT_BYTES_MAX = 1 << 20
_THEMES = [[f"{theme}{number}" for number in range(24)] for theme in ("weir", "mill", "lock", "race", "gate")]


def policy(**rounds: Any) -> dict[str, Any]:
    """A policy under which all samples are accepted, and rounds end with their new version."""
    return {
        "signals": {"base_model": "base"},
        "diversity": {"near_duplicate_cosine": None},
        "training": {"held_out_share": 0.1, "held_out_seed": "rounds"},
        "rounds": {"train": False, "meaning_cosine_min": 0.5, "guards": {"model_written_share_max": 1.0}} | rounds,
    }


def samples(count: int = SAMPLES) -> list[dict[str, Any]]:
    """The same at every call: most prompts are among others of their theme, one in twelve shares no word with any."""
    rng = random.Random(5)
    return [_sample(rng, number) for number in range(count)]


def _sample(rng: random.Random, number: int) -> dict[str, Any]:
    words = rng.choices(rng.choice(_THEMES), k=rng.randrange(8, 20))
    if number % 12 == 7:
        words = [f"lonely{rng.randrange(10**6)}" for _ in words]
    answer = f"It takes {rng.randrange(10**6)} turns."
    return {
        "id": f"s{number:03}",
        "messages": [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": answer}],
    }


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """What a round came to.

    `rows` of the new version are ids, revisions and hashes of contents; a row that was added is named by the one that it stands
    beside, since its id follows from the round's. `calls` counts the requests that the endpoint was sent.
    """

    state: RoundState
    thresholds: bytes
    selection: bytes
    rows: frozenset[tuple[str, int, str]]
    account: Account
    calls: Counter[str]

    def told(self) -> str:
        """The counts, in two lines."""
        state, account = self.state, self.account
        rewrites, selected = state.rewrites, state.selected
        assert selected is not None
        counts = {
            "surveyed": state.rows.sent,
            "measured": state.rows.measured,
            "lost": len(state.rows.lost),
            "selected": {"hard": selected.hard, "sparse": selected.sparse, "low_quality": selected.low_quality},
            "accepted": dict(rewrites.accepted),
            "rejected": dict(rewrites.rejected),
            "not made": dict(rewrites.not_made),
            "attempts": rewrites.attempts,
            "evicted": state.evicted,
            "rows of the new version": len(self.rows),
            "calls paid": self.calls.total(),
            "distinct calls": len(self.calls),
        }
        sums = (
            f"{account.submitted} submitted = {account.accepted} accepted + {account.rejected} rejected {account.reasons} + "
            f"{account.dead_lettered} dead-lettered + {account.in_flight} in flight"
        )
        return ", ".join(f"{name} {count}" for name, count in counts.items()) + f"\n  {sums}"


class Harm(Protocol):
    """Something that disturbs a round while it runs."""

    async def at(self, states: RoundStates, state: RoundState) -> None:
        """The round stands so now; called again and again."""
        ...


def run(spine: Spine, mender: Mender, dataset: str, rules: Mapping[str, Any], harm: Harm | None = None) -> RoundEnd:
    """From the samples to the next version, in a dataset of its own, whose name the endpoint is asked by."""
    ask_as(spine, dataset)
    file = spine.folder / f"{dataset}.yaml"
    file.write_text(json.dumps(rules))
    spine.headrace("dataset", "create", dataset, "--file", str(file))
    lines = "".join(json.dumps(line) + "\n" for line in samples())
    spine.headrace("submit", "--dataset", dataset, "-", stdin=lines)
    account = asyncio.run(spine.settled(dataset, SAMPLES))
    assert account.accepted == SAMPLES, account
    spine.headrace("dataset", "cut", dataset, "--wait")
    spine.wait_until_it_serves("refinement")
    began = time.monotonic()
    state = asyncio.run(_round(spine, dataset, harm))
    seconds = time.monotonic() - began
    spine.revive()
    spine.wait_until_it_serves("object-store")
    end = asyncio.run(_end(spine, dataset, state, mender.asked[dataset]))
    sys.stderr.write(f"\n{dataset}, {seconds:.0f} s: {end.told()}\n")
    return end


def ask_as(spine: Spine, model: str) -> None:
    """From here on refinement asks for this model: replies of another one are none of it, so that every call is paid anew."""
    spine.kill("refinement")
    spine.restart("refinement", {"HEADRACE_CHAT_MODEL": model})


async def _round(spine: Spine, dataset: str, harm: Harm | None) -> RoundState:
    """Looked at from its very beginning, which the command is too slow for."""
    starting = asyncio.create_task(asyncio.to_thread(spine.headrace, "round", "start", dataset, "--anyway"))
    state = await ended(spine, dataset, harm)
    await starting
    return state


async def ended(spine: Spine, dataset: str, harm: Harm | None = None) -> RoundState:
    """The last state of the dataset's first round."""
    deadline = time.monotonic() + _ROUND_S_MAX
    async with RoundStates.opened(spine.environment["HEADRACE_KAFKA"]) as states:
        while True:
            await states.refresh()
            state = next((each for each in states.of_dataset(dataset) if each.ordinal), None)
            if state is not None and not state.running:
                return state
            assert time.monotonic() < deadline, f"the round does not end: {state}"
            if harm is not None and state is not None:
                await harm.at(states, state)
            await asyncio.sleep(0.01)


async def _end(spine: Spine, dataset: str, state: RoundState, calls: Counter[str]) -> RoundEnd:
    attempts = state.rewrites.attempts - sum(state.rewrites.not_made.values())
    account = await spine.settled(dataset, SAMPLES + attempts)
    survey = state.begun.survey
    async with open_object_store(spine.store_settings()) as objects:
        thresholds, selection = [
            await objects.get(key(survey), bytes_max=_OBJECT_BYTES_MAX) for key in (thresholds_key, selection_key)
        ]
        versions = VersionStore(objects)
        version = await versions.version(dataset)
        assert state.committed is not None
        assert version.id == state.committed.version
        rows = set()
        columns = ["sample_id", "revision", "content_hash", "origin_axis", "origin_parent_ids"]
        async for batch in versions.rows(version.manifest, RowKind.ACCEPTED, columns):
            rows |= {_row(row) for row in batch.to_pylist()}
    assert len(rows) == version.manifest.counts.accepted
    return RoundEnd(state, thresholds.body, selection.body, frozenset(rows), account, calls)


def _row(row: Mapping[str, Any]) -> tuple[str, int, str]:
    beside = row["origin_axis"] == "sparse"
    name = f"beside {row['origin_parent_ids'][0]}" if beside else row["sample_id"]
    return name, row["revision"], row["content_hash"]

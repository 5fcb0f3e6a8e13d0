"""The second experiment, with a model's side and a writer that only pretend."""

import math
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from headrace.core.dossiers import Dossier
from headrace.core.policies import Policy
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.revisions import identity_of_rewrite
from headrace.core.rounds.rules import Axis
from headrace.core.samples import Message, Reference, Sample, content_hash_of
from headrace.experiment.arms import Arm
from headrace.experiment.controls import compare
from headrace.experiment.mending import Mender
from headrace.experiment.model_side import Measured
from headrace.experiment.planted import PROBLEM, planted
from headrace.experiment.planting import RULES, Planted
from headrace.experiment.settings import Setup
from headrace.experiment.surveyed import surveyed
from headrace.experiment.telling import Tell
from headrace.experiment.writing import Written
from tests.fakes.workers import FakeWorkers

SETUP = Setup(
    rows=30, held_out=3, chars_max=100, damage_share=0.1, seed=0, seeds=2, tokens_max=64, train_tokens_max=64,
    steps=2, batch_rows=1, accumulate=1,
    learning_rate=1e-3, rewrites_max=4, attempts=2, reply_tokens_max=16, side_by_side=2, device="cpu", model=None,
)  # fmt: skip
SIZE = 16


def sample(number: int) -> Sample:
    turns = (Message("user", f"what is {number} plus one"), Message("assistant", f"it is the number {number + 1}, said in words"))
    attributes = {PROBLEM: f"p{number % 5}"}
    return Sample("experiment", f"s{number}", 0, content_hash_of(turns, "", None), turns, attributes=attributes)


def measured(samples, *, loss=None) -> Measured:
    """Numbers that follow from the text: a rewrite's loss is lower and its quality higher than any parent's."""
    chance = [np.random.default_rng(int(each.content_hash[:8], 16)) for each in samples]
    mended = np.array(["mended" in each.messages[-1].content for each in samples])
    vectors = np.stack([each.normal(size=SIZE) + 4 for each in chance]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = ("",) * len(samples)
    return Measured(
        loss=np.array([each.uniform(1, 2) for each in chance]) - mended if loss is None else np.full(len(samples), loss),
        scores=np.stack([each.uniform(2, 4, 6) for each in chance]) + 4 * mended[:, None],
        prompts=vectors,
        conversations=vectors,
        errors=none,
        judge_errors=none,
        lengths=np.full((len(samples), 2), 9),
        truncated=np.zeros(len(samples), dtype=bool),
    )


class PretendedSide:
    """Trains nothing; what was trained on more rows has the lower loss."""

    def __init__(self):
        self.trained = {}

    async def measure(self, folder, asks):
        del folder
        known = {path: 1 / len(samples) for path, samples in self.trained.items()}
        return {ask.name: measured(ask.samples, loss=known.get(ask.weights)) for ask in asks}

    async def train(self, folder, samples, chosen):
        del chosen
        self.trained[folder] = tuple(samples)
        return folder


class PretendedWriter:
    """Rewrites every row whose id it does not refuse."""

    model = "pretended"

    def __init__(self, *, refuses=lambda _: False):
        self._refuses = refuses

    async def write(self, rewrites):
        return [Written(each, None, "empty") if self._refuses(each) else Written(each, _dossier(each)) for each in rewrites]

    def tokens_spent(self, rewrites):
        return len(rewrites)


def _dossier(rewrite):
    sample_id, revision = identity_of_rewrite(rewrite)
    parent = rewrite.parent
    messages = (*parent.messages[:-2], Message("user", parent.messages[-2].content), Message("assistant", "mended"))
    origin = replace(parent.origin, axis=rewrite.axis, parent_ids=(parent.id,))
    made = replace(parent, id=sample_id, revision=revision, messages=messages, origin=origin)
    return Dossier(replace(made, content_hash=content_hash_of(messages, "", None)), 0.0, rewrite=rewrite)


async def compared(writer, tmp_path: Path, *, meaning_cosine_min=0.5, alike=False):
    rows = planted([sample(number) for number in range(SETUP.rows)], share=SETUP.damage_share, seed=0)
    samples = [row.sample for row in rows]
    current = measured(samples)
    if alike:
        ones = np.ones_like(current.scores)
        current = replace(current, loss=ones[:, 0], scores=ones, prompts=np.full_like(current.prompts, 0.25))
    data = Planted(rows, tmp_path / "d0-0", current, surveyed(measured(samples), current, RULES), {})
    side: Any = PretendedSide()
    side.trained[data.weights] = tuple(samples)
    policy = Policy(rounds=RoundPolicy(attempts_max=2, meaning_cosine_min=meaning_cosine_min))
    mender = Mender(data, side, writer, policy, tmp_path, FakeWorkers())
    said = StringIO()
    held_out = [sample(100 + number) for number in range(3)]
    figures = await compare(SETUP, data, held_out, mender, side, tmp_path, Tell(Console(file=said, width=200)))
    return figures, side, said.getvalue(), samples


async def test_all_arms_are_trained_with_every_seed_and_compared_in_pairs(tmp_path):
    """Five arms, two seeds, one of the ten trained before; removal leaves out as many rows as were rewritten."""
    figures, side, said, samples = await compared(PretendedWriter(), tmp_path)
    assert set(figures["arms"]) == {arm.value for arm in Arm}
    assert len(side.trained) == len(Arm) * SETUP.seeds
    changed = figures["rewrites"]["changed"]
    assert changed == figures["rewrites"]["accepted"] > 0
    assert figures["rewrites"]["random_written"] == changed
    for arm in (Arm.RANDOM_REMOVAL, Arm.SELECTED_REMOVAL):
        told = figures["arms"][arm]
        assert told["rows"]["count"] == len(samples) - changed
        assert told["difference_mean"] == pytest.approx(1 / (len(samples) - changed) - 1 / len(samples))
        assert told["difference_std"] == pytest.approx(0)
    assert "(e) selected rows removed" in said
    assert "2 of 2 seeds" not in said


async def test_a_round_replaces_adds_and_evicts(tmp_path):
    """Rewrites stand in their parents' places, new rows are paid for by others that leave, and no id comes twice."""
    figures, side, _, samples = await compared(PretendedWriter(), tmp_path)
    rows = figures["arms"][Arm.ROUND]["rows"]
    assert len(rows["replaced"]) + len(rows["added"]) == figures["rewrites"]["accepted"]
    assert len(rows["left"]) <= len(rows["added"])
    data = side.trained[tmp_path / "b-0"]
    assert len({each.id for each in data}) == len(data) == rows["count"]
    assert {each.id for each in data} == ({each.id for each in samples} - set(rows["left"])) | set(rows["added"])


async def test_where_nothing_can_be_written_it_says_so(tmp_path):
    """Without a rewrite D_1 is D_0 and is not trained again; removal is of as many rows as were to be mended."""
    figures, side, said, samples = await compared(PretendedWriter(refuses=lambda _: True), tmp_path)
    assert set(figures["not_run"]) == {Arm.ROUND, Arm.RANDOM_REWRITES}
    assert figures["rewrites"]["ended"] == {"not made: empty": SETUP.rewrites_max}
    assert figures["arms"][Arm.RANDOM_REMOVAL]["rows"]["count"] == len(samples) - SETUP.rewrites_max
    assert len(side.trained) == 3 * SETUP.seeds
    assert "D_1 is D_0" in said


async def test_a_rewrite_that_loses_its_meaning_is_tried_again_and_then_turned_away(tmp_path):
    """The rules are admission's own: what replaces its parent must stay near it, in each of its attempts."""
    figures, *_ = await compared(PretendedWriter(), tmp_path, meaning_cosine_min=1.0)
    replacing = [each for each in figures["rewrites"]["told"] if each["axis"] != Axis.SPARSE]
    assert replacing
    assert all(each["attempts"] == 2 and each["reason"] in {"meaning_lost", "near_duplicate"} for each in replacing)
    assert not math.isnan(figures["base_loss"])


class WrongWriter(PretendedWriter):
    """Its answers are easy, and not what the reference says."""

    async def write(self, rewrites):
        written = await super().write(rewrites)
        reference = Reference("another answer", "exact")
        return [
            replace(each, dossier=replace(each.dossier, sample=replace(each.dossier.sample, reference=reference)))
            for each in written
        ]


async def test_an_answer_that_is_not_the_references_is_turned_away(tmp_path):
    """As in the stack, the check is made though no policy lists it."""
    figures, *_ = await compared(WrongWriter(), tmp_path)
    reasons = {each["reason"] for each in figures["rewrites"]["told"]}
    assert "check_failed" in reasons
    assert "accepted" not in reasons


async def test_where_no_row_stands_out_nothing_but_the_unchanged_data_is_trained_on(tmp_path):
    """All rows alike: nothing is selected, and there is nothing to compare with."""
    figures, side, said, _ = await compared(PretendedWriter(), tmp_path, alike=True)
    assert len(side.trained) == SETUP.seeds
    assert set(figures["not_run"].values()) == {"no row was selected"}
    assert said.count("no row was selected") == len(Arm) - 1

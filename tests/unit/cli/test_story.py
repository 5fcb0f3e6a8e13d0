"""A sample's story says everything that led to the decision, and nothing in it drives the terminal."""

import json
from dataclasses import replace

from rich.console import Console

from headrace.adapters.versions.sample_history import Ending
from headrace.cli.sample import _plain
from headrace.cli.story import story
from headrace.core.decide import decide
from headrace.core.dossiers import Cost, Decision, EndpointJudgement, Verdict
from headrace.core.policies import Policy
from headrace.core.samples import Message
from tests.fakes.bodies import DOSSIER, SUBMITTED
from tests.fakes.rewrites import NEW_QUESTION, NEW_RESPONSE, QUESTION, RESPONSE, evidence, parent, rewrite

MADE = (Message("user", NEW_QUESTION), Message("assistant", NEW_RESPONSE))


def told(ending: Ending) -> str:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(story(ending))
    return captured.get()


def test_a_story_tells_what_was_compared():
    """Conversation, signals, neighbours, checks with evidence, numbers with bounds, costs and times are all there."""
    text = told(Ending("version 3 (abc), rejected", DOSSIER, DOSSIER.submitted_at + 2.5))
    for expected in (
        "arithmetic / problem-7 · revision 3 · rejected: check_failed", "What is 6 times 7?", "multiply({",
        "loss 1.25 ± 0.5 nats per response token", "not made: loss was not finite",
        "near of problem-1 revision 2, cosine 0.99950",
        "density 0.3700", "schema failed: not an integer", "loss_mean 1.25 <= 4 holds", "scoring: 0.125 s, 40 prompt tokens",
        "as it was before round round-0, which was undone", "2.50 s later", "version 3 (abc), rejected",
        "under policy 0123456789ab",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_story_of_a_dead_letter_says_why():
    """A sample without a decision has its error for an ending."""
    text = told(Ending("headrace.sample.placed.admission.dlq, offset 3", SUBMITTED, None, "no_policy: dataset has no policy"))
    assert "dead letter" in text
    assert "no_policy: dataset has no policy" in text


def test_what_a_sample_says_stays_text():
    """Escape sequences, markup and endless turns are shown, not obeyed."""
    messages = (Message("user", "\x1b[2J[bold red]hi[/bold red] \u202e" + "x" * 10_000), *[Message("assistant", "ok")] * 100)
    nasty = replace(
        DOSSIER, wire=None, sample=replace(DOSSIER.sample, messages=messages, id="[/]\x07"),
        decisions=(Decision(Verdict.REJECTED, "[link=x]new_reason", "p"),), costs=(Cost("[b]"),),
    )  # fmt: skip
    text = told(Ending("here", nasty, None))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "[bold red]hi[/bold red]" in text
    assert "93 turns" in text
    assert len(text) < 20_000


def test_a_rewrite_stands_beside_its_parent():
    """Round, axis, attempts and cost; both texts and both numbers; what its predecessor failed by; all numbers compared."""
    paid = Cost("refinement", 1.0, 100, 20, 0.5, "EUR")
    asked = rewrite(attempt=2, previous_failure="not_better: [b]4.2[/b]", spent=(paid,), parent_quality=None)
    made = replace(evidence(asked, costs=(paid,)), sample=replace(parent(34), messages=MADE))
    dossier = replace(made, decisions=(decide(made, Policy()),))
    text = told(Ending("version 4", dossier, None))
    for expected in (
        "round round-1 (number 1), axis hard, attempt 2 of 2", "attempt 1 was turned away: not_better: [b]4.2[/b]",
        "parent, revision 0", "rewrite, revision 34", QUESTION[:60], NEW_QUESTION[:60], RESPONSE[:60], NEW_RESPONSE[:60],
        "all attempts: 2 s, 200 prompt tokens, 40 completion tokens, 1 EUR", "rewrite_loss_mean 3 < 4 holds",
        "rewrite_meaning_cosine 0.9 >= 0.8 holds", "cosine 0.9000 to its parent", "not made",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_second_opinion_is_told_where_there_is_one():
    """Both numbers and the judge; one that says markup for its name is shown, not obeyed."""
    judged = EndpointJudgement(5.25, 6.75, "[b]judge[/b]", "judge.v1")
    text = told(Ending("here", evidence(rewrite(judged=judged)), None))
    for expected in ("[b]judge[/b]", "5.25", "6.75"):
        assert expected in text, expected
    assert "judges it" not in told(Ending("here", evidence(rewrite()), None))


def test_a_sparse_rewrite_names_its_parent():
    """Whose id is another one."""
    made = evidence(rewrite("sparse"))
    text = told(Ending("here", replace(made, sample=replace(made.sample, id="sparse-0123")), None))
    assert "train" in text
    assert "sparse-0123" in text
    assert "stands beside its parent" not in text
    assert "stands beside its parent" in told(Ending("here", evidence(rewrite("hard", adds=True)), None))


def test_an_ending_is_json_whatever_its_dossier_holds():
    """Bytes are left out."""
    plain = json.loads(json.dumps(_plain(Ending("here", evidence(rewrite()), None))))
    assert plain["dossier"]["rewrite"]["parent"]["id"] == "train"

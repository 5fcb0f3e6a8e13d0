"""What was sent back from the dead letters says so to its end, through every topic and every attempt."""

from dataclasses import fields, replace

from headrace.adapters.rounds.dead_letters import SOURCES
from headrace.core.dossiers import ScoredSample
from headrace.core.rounds.sent_back import sent_back_once
from headrace.core.rounds.surveys import RefinementRequested
from tests.fakes.bodies import BODIES, DOSSIER
from tests.fakes.rewrites import evidence, rewrite


def test_a_rewrite_is_marked_whatever_topic_it_was_sent_back_on():
    """All bodies that a round may lose a rewrite in are among them; the rest of each stays as it was."""
    asked = rewrite()
    marked = replace(asked, sent_back=True)
    carried = evidence(asked)
    scored = ScoredSample(carried, None, held_since=5.0, order=7)
    assert sent_back_once(RefinementRequested(asked)) == RefinementRequested(marked)
    assert sent_back_once(carried) == replace(carried, rewrite=marked)
    assert sent_back_once(scored) == replace(scored, dossier=replace(carried, rewrite=marked))
    bodies = {topic.body for topic, _ in SOURCES.values()}
    can_hold = {type(each) for each in (RefinementRequested(asked), carried, scored)}
    assert can_hold == {kind for kind in bodies if {"rewrite", "dossier"} & {each.name for each in fields(kind)}}


def test_what_is_no_rewrite_stays_as_it_is():
    """Samples from outside, and bodies that know of no rewrite."""
    plain = replace(DOSSIER, rewrite=None)
    for body in (plain, BODIES["SurveyedSample"], b"bytes"):
        assert sent_back_once(body) is body

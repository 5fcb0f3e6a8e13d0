"""Rewrites that were among the dead letters: what was sent back says so, until its way has ended. Pure.

A round counts a rewrite when its dead letter is read, and when its way ends. Between the two lie several topics, so either may be
told first; whoever counts can tell that both are about one rewrite only if its end says that it was among the dead letters.
"""

from dataclasses import replace
from typing import TypeVar

from headrace.core.dossiers import Dossier, ScoredSample
from headrace.core.rounds.surveys import RefinementRequested

Body = TypeVar("Body")


def sent_back_once(body: Body) -> Body:
    """The body of a record that was sent back from the dead letters: a rewrite in it carries that to its end."""
    match body:
        case ScoredSample():
            return replace(body, dossier=sent_back_once(body.dossier))
        case Dossier() | RefinementRequested() if body.rewrite is not None:
            return replace(body, rewrite=replace(body.rewrite, sent_back=True))
    return body

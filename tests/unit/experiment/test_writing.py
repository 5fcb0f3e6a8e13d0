"""The experiment's writer is refinement itself, put together without a service around it."""

from headrace.adapters.chat.settings import ChatSettings
from headrace.core.dossiers import EndpointJudgement
from headrace.core.policies import Policy
from headrace.core.rounds.rewriting import Style
from headrace.experiment.writing import Endpoints, opened_writer
from tests.fakes.chat_endpoint import StubEndpoint, answers
from tests.fakes.rewrites import NEW_QUESTION, rewrite, scores


async def test_a_writer_writes_and_has_it_judged_where_the_policy_asks():
    """With refinement's own handler, recipes and limits; every call is counted."""
    stub = StubEndpoint(script=[answers(NEW_QUESTION), answers("40 miles."), answers(scores(5)), answers(scores(6))])
    async with stub.serving():
        named = Endpoints(lambda _: ChatSettings(url=stub.url, model="stub"), Style.PLAIN)
        policy = Policy.model_validate({"rounds": {"judge_rewrites": "endpoint"}})
        async with opened_writer(named, policy, 64) as writer:
            [written] = await writer.write([rewrite()])
            assert writer.tokens_spent([rewrite()]) == 40
    assert written.dossier is not None, written.reason
    assert written.dossier.sample.messages[-2].content == NEW_QUESTION
    assert written.dossier.rewrite is not None
    assert written.dossier.rewrite.judged == EndpointJudgement(5.0, 6.0, "stub", "judge.v1")

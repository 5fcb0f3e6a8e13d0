"""The wire form of kept replies of generating models."""

from headrace.adapters.wire.fields import Undecodable, require, serialized
from headrace.adapters.wire.pages import cost_from, cost_to
from headrace.core.chat import Hindrance, KeptReply, NotMade, Outcome, Reply
from headrace.core.dossiers import Cost
from headrace_protos.chat.v1 import reply_pb2

_NUMBER_OF_HINDRANCE = {
    Hindrance.TOO_LARGE: reply_pb2.HINDRANCE_TOO_LARGE,
    Hindrance.MALFORMED: reply_pb2.HINDRANCE_MALFORMED,
    Hindrance.EMPTY: reply_pb2.HINDRANCE_EMPTY,
    Hindrance.CUT_OFF: reply_pb2.HINDRANCE_CUT_OFF,
    Hindrance.FILTERED: reply_pb2.HINDRANCE_FILTERED,
    Hindrance.FAILED: reply_pb2.HINDRANCE_FAILED,
    Hindrance.REFUSED: reply_pb2.HINDRANCE_REFUSED,
}
"""Only what was paid for is kept: other hindrances have no number."""
_HINDRANCE_OF_NUMBER = {number: hindrance for hindrance, number in _NUMBER_OF_HINDRANCE.items()}


def reply_from(message: reply_pb2.ModelReply, _: bytes) -> KeptReply:
    """Raises Undecodable where a required part is missing or impossible."""
    require(message.identity, "identity")
    require(message.role, "role")
    if not message.HasField("cost"):
        raise Undecodable("cost is missing")
    outcome = _outcome_from(message, cost_from(message.cost))
    return KeptReply(message.identity, message.role, message.model_asked, message.account, outcome)


def encode_reply(kept: KeptReply) -> bytes:
    """Every field as it is. Raises ValueError for an outcome that was not paid for, and for a text with lone surrogates."""
    outcome = kept.outcome
    if outcome.cost is None:
        raise ValueError("a call that nobody paid for is not kept")
    message = reply_pb2.ModelReply(
        identity=kept.identity,
        role=kept.role,
        model_asked=kept.model_asked,
        account=kept.account,
        cost=cost_to(outcome.cost),
    )
    if isinstance(outcome, Reply):
        message.text.text = outcome.text
        message.text.model = outcome.model
        message.text.finish_reason = outcome.finish_reason
        message.text.SetInParent()
    else:
        number = _NUMBER_OF_HINDRANCE.get(outcome.hindrance)
        if number is None:
            raise ValueError(f"a call that was {outcome.hindrance} is not kept")
        message.hindrance.hindrance = number
        message.hindrance.detail = outcome.detail
    return serialized(message)


def _outcome_from(message: reply_pb2.ModelReply, cost: Cost) -> Outcome:
    match message.WhichOneof("outcome"):
        case "text":
            return Reply(message.text.text, cost, message.text.model, message.text.finish_reason)
        case "hindrance":
            hindrance = _HINDRANCE_OF_NUMBER.get(message.hindrance.hindrance)
            if hindrance is None:
                raise Undecodable(f"hindrance {message.hindrance.hindrance} is unknown")
            return NotMade(hindrance, message.hindrance.detail, cost)
        case _:
            raise Undecodable("outcome is missing")

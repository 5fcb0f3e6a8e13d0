"""What the gateway consumes: samples of producers that speak Kafka."""

from headrace.core.events import Handler
from headrace.core.topics import INGEST
from headrace.runtime.service import Subscription

NAME = "gateway"


def subscriptions(ingest: Handler[bytes]) -> tuple[Subscription, ...]:
    """The gateway's only subscription."""
    return (Subscription(INGEST, NAME, ingest, trusted=False),)

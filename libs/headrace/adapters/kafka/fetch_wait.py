"""How long a consumer's empty fetches wait at the broker.

What else a consumer asks of that broker, and a partition that it takes up meanwhile, have to wait for the fetch to come back:
while that is to be expected the wait is short. Else it is long: each empty fetch costs the broker and the client as much as
one with records.
"""

from aiokafka import AIOKafkaConsumer

LONG_MS = 500
SHORT_MS = 50


def set_fetch_wait(consumer: AIOKafkaConsumer, wait_ms: int) -> None:
    """Applies to every fetch from the next one on."""
    consumer._fetcher._fetch_max_wait_ms = wait_ms  # noqa: SLF001  # aiokafka takes it at construction only

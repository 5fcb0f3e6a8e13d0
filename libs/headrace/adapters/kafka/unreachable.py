"""What callers of Kafka tell people; apart from the clients, so that telling costs no import of them."""

import logging


class BrokerUnreachable(Exception):
    """Kafka does not answer, or lacks a topic. The message names the setting or the command that mends it."""


def no_answer(bootstrap: str, start_s: float) -> BrokerUnreachable:
    """The error of a broker that did not answer within `start_s` seconds."""
    if not bootstrap.strip(", "):
        return BrokerUnreachable(
            "no stack runs here: start one with `headrace up`, or set HEADRACE_KAFKA to host:port of a broker"
        )
    return BrokerUnreachable(f"Kafka does not answer at {bootstrap} within {start_s:g} s: is HEADRACE_KAFKA right?")


def quiet_clients() -> None:
    """For programs that tell of Kafka's troubles themselves, in a line: the clients' own logs only if somebody asked for them."""
    for name in ("aiokafka", "kafka"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)

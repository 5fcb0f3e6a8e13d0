"""What callers of Kafka tell people; apart from the clients, so that telling costs no import of them."""


class BrokerUnreachable(Exception):
    """Kafka does not answer, or lacks a topic. The message names the setting or the command that mends it."""


def no_answer(bootstrap: str, start_s: float) -> BrokerUnreachable:
    """The error of a broker that did not answer within `start_s` seconds."""
    return BrokerUnreachable(f"Kafka does not answer at {bootstrap} within {start_s:g} s: is HEADRACE_KAFKA right?")

"""Creates the topics before the services start, which refuse to run without them."""

from collections.abc import Mapping
from typing import Any

from kafka.errors import KafkaError

from headrace.adapters.kafka.admin import Ensured, KafkaAdmin
from headrace.adapters.kafka.streams import BrokerUnreachable
from headrace.local.launch import StackFailed
from headrace.runtime.settings import RuntimeSettings


def create_topics(told: Mapping[str, str]) -> Ensured:
    """Creates the topics that are missing, and gives the others what readers rely on.

    `told` holds the settings (HEADRACE_*) of the servers that were started; what it lacks is taken from the environment.

    Raises:
        StackFailed: the broker cannot be reached or refuses.
    """
    names = {"kafka": "HEADRACE_KAFKA", "partitions": "HEADRACE_PARTITIONS", "replication_factor": "HEADRACE_REPLICATION_FACTOR"}
    values: dict[str, Any] = {field: told[name] for field, name in names.items() if told.get(name)}
    settings = RuntimeSettings(**values)
    try:
        with KafkaAdmin(settings.kafka) as admin:
            return admin.ensure_topics(partitions=settings.partitions, replication_factor=settings.replication_factor)
    except (BrokerUnreachable, KafkaError) as error:
        raise StackFailed(f"the topics could not be created: {error}") from error

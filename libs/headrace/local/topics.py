"""Creates the topics before the services start, which refuse to run without them."""

from kafka.errors import KafkaError

from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import BrokerUnreachable
from headrace.local.launch import StackFailed
from headrace.runtime.settings import RuntimeSettings


def create_topics(bootstrap: str) -> list[str]:
    """Creates the topics that are missing and returns their names; an empty address means the setting's.

    Raises:
        StackFailed: the broker cannot be reached or refuses.
    """
    settings = RuntimeSettings(kafka=bootstrap) if bootstrap else RuntimeSettings()
    try:
        with KafkaAdmin(settings.kafka) as admin:
            return admin.ensure_topics(partitions=settings.partitions, replication_factor=settings.replication_factor)
    except (BrokerUnreachable, KafkaError) as error:
        raise StackFailed(f"the topics could not be created: {error}") from error

"""Polls for records, such that nothing is passed over whatever a poll ends with."""

from itertools import chain

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import ConsumerStoppedError, KafkaError

from headrace.adapters.kafka.unreadable import Unreadable
from headrace.runtime.delivery.batch_size import BatchSize
from headrace.runtime.delivery.claims import Claims

_POLL_MS = 1_000
"""Longest wait for records before the client is asked whether it is well; records that come end it at once."""


class Reading:
    """What a hop reads next; `trouble` is why its latest poll failed, None where it did not."""

    def __init__(self, claims: Claims, batch_size: BatchSize) -> None:
        self._claims = claims
        self._batch_size = batch_size
        self.trouble: str | None = None

    async def next_batch(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """The records that have arrived, as soon as there are any, or none after a while.

        A poll that fails in one partition takes with it what it read of others, and leaves their positions behind that; a commit
        would leave it out for good. So all are put back to where they are committed.

        Raises:
            KafkaError: FastStream polls again after a while. After any other error it does so at once, and keeps each of them.
        """
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._batch_size.records)
        except ConsumerStoppedError:
            raise
        except Unreadable as error:
            self.trouble = None  # the partition says it
            self._claims.rewind_all()
            self._claims.refuse(error)
            return ()
        except Exception as error:  # whatever it is, what was read of others is gone with it
            self._claims.rewind_all()
            self.trouble = f"cannot read: {error!r}"
            raise KafkaError(self.trouble) from error
        self.trouble = None
        return tuple(chain.from_iterable(polled.values()))

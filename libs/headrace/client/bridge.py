"""From a version to the topic: every accepted sample once, though versions and topics are counted by different offsets.

A version V is made from `headrace.sample.decided`; a subscriber goes on with `headrace.accepted.<dataset>`. Admission writes an
acceptance to both in one transaction, but transactions of several partitions run side by side, so that the two topics need not
have the same order: no offset of the accepted topic divides it into what V holds and what it does not. Hence the bridge: read
the topic from some place *before* everything that V does not hold, and leave out what V holds.

**What is left out.** Of each sample V holds the latest revision it knows. `Held` has those pairs, all of them, so for a record

- an acceptance of (sample, revision) is left out if and only if V holds the sample in that revision or a later one: either it
  is in V, or a revision that replaced it is;
- a retraction is left out if and only if V holds a later revision, which was accepted in spite of it.

So nothing is handed out that V has handed out, and what V lacks is handed out, wherever reading begins. A sample that was
accepted and taken back before V is in neither; where the topic is read from before it, both records come, in this order.

**Where it ends.** V was committed before the subscriber came, and a transaction's records are all written before it is
committed to any partition. So V's records lie below the ends that the partitions have now, open transactions included
(`until`), and from there on nothing needs to be compared.

**Where it begins.** The topic's beginning is always right, since the accepted topics are kept for good, and
`clocks_within_s=None` takes it. But it is as long as the dataset. Let t be the time of V's latest decision, by the clock of the
host that decided it, and r an acceptance that V lacks. Its decision lies behind all of V's, which are those of one partition
up to an offset. So when V's latest decision was written, at t or later, r's transaction had not yet ended. r got its timestamp
when its transaction began, which lasts ten seconds at most (HEADRACE_DELIVERY_TRANSACTION_TIMEOUT_MS; a broker
allows 15 minutes). Were all clocks the same, r's timestamp would be above t less those seconds; where clocks and those
seconds together make up less than `clocks_within_s`, it is above t - `clocks_within_s`. Kafka finds the first record of each
partition with such a time, and r is not before it. Ten minutes, the default, is twice what Kerberos lets clocks differ by.

There is one exception: what datasets put among its dead letters, or had not yet read for longer than `clocks_within_s` when it
cut, is in no version although its time is past: a decision, or a retraction, which has a topic of its own. Where
`headrace dlq ls` or `headrace lag` shows such, subscribe with `clocks_within_s=None`, or begin from a later version.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from headrace.client.accepted import Accepted, Item

if TYPE_CHECKING:  # Arrow costs a third of a second, which whoever reads no version should not pay
    import pyarrow as pa

    from headrace.client.row_keys import RowKeys


class Held:
    """The latest revision of every sample in a version, in bounded memory: the rows' keys lie in a temporary file."""

    def __init__(self) -> None:
        self._keys: RowKeys | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add(self, rows: "pa.RecordBatch") -> None:
        """Takes in rows of the version by their columns `sample_id` and `revision`."""
        if self._keys is None:
            from headrace.client.row_keys import RowKeys  # noqa: PLC0415 - see above

            self._keys = RowKeys()
        self._keys.add(rows)

    def covers(self, item: Item) -> bool:
        """Whether the version makes the item superfluous."""
        return self.has(item.sample_id, item.revision if isinstance(item, Accepted) else item.revision + 1)

    def has(self, sample_id: str, lowest: int) -> bool:
        """Whether the version holds this revision of a sample, or a later one."""
        return self._keys is not None and any(revision >= lowest for revision in self._keys.revisions(sample_id))

    def close(self) -> None:
        """Frees the file. Closing twice does nothing."""
        if self._keys is not None:
            self._keys.close()

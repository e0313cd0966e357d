"""Faust tables whose rows are written by partition and batch: to RocksDB at once, to the changelog under a ticket.

Faust writes row by row, finds the partition by the message at work, and throws the changelog's futures away, so that an
offset could be committed whose state is not in Kafka yet.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import faust
import rocksdict
from faust.stores.rocksdb import Store as RocksStore
from faust.types.tuples import TP

from streams.agents.sending import Sender, Ticket
from streams.core.windows import Write

if TYPE_CHECKING:
    from streams.transport import Batch


class PartitionTable(faust.Table):  # type: ignore[misc]
    """A table of bytes. Rows of a partition belong to the events of the source partition of the same number.

    `recovered` counts the messages that were read from the changelog.
    """

    recovered = 0

    def write(self, sender: Sender, ticket: Ticket, partition: int, writes: Iterable[Write]) -> None:
        """Apply a core's writes to a partition, in their order; None deletes."""
        rows = list(writes)
        if not rows:
            return
        self._apply(partition, rows)
        name = self.changelog_topic.get_topic_name()
        for key, value in rows:
            sender.send(ticket, name, key, value, partition=partition, row=True)

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every row of a partition; where the store keeps all partitions together, of the others, too."""
        store = self.data
        if not isinstance(store, RocksStore):
            yield from list(store.items())
            return
        for key, value in store._db_for_partition(partition).items():  # noqa: SLF001 - it has no public name
            if key != store.offset_key:
                yield key, value

    def persisted(self, ticket: Ticket) -> None:
        """Remember how far the changelog is that local rows stand for: a restart reads on from there."""
        name = self.changelog_topic.get_topic_name()
        for (topic, partition), offset in ticket.offsets.items():
            if topic == name and self._is_open(partition):
                self.data.set_persisted_offset(TP(topic, partition), offset)

    def apply_changelog_batch(self, batch: Any) -> None:
        """What recovery reads: events whose message is a `Batch` of rows of one partition; counted."""
        for event in batch:
            rows: Batch = event.message
            self._apply(rows.partition, [(row.key, row.value) for row in rows.records])
            if isinstance(self.data, RocksStore):
                self.data.set_persisted_offset(rows.tp, rows.offset)
            self.recovered += len(rows.records)

    def _is_open(self, partition: int) -> bool:
        """Whether the partition's database is open: one that was taken from us belongs to another."""
        return isinstance(self.data, RocksStore) and partition in self.data._dbs  # noqa: SLF001 - as above

    def _apply(self, partition: int, rows: Sequence[Write]) -> None:
        store = self.data
        if not isinstance(store, RocksStore):
            for key, value in rows:
                if value is None:
                    store.pop(key, None)
                else:
                    store[key] = value
                    store._key_partition[key] = partition  # noqa: SLF001 - by it Faust drops what it loses
            return
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        database: Any = store._db_for_partition(partition)  # noqa: SLF001 - it has no public name
        database.write(batch)

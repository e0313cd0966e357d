"""Faust tables whose writes can be waited for."""

from typing import Any

import faust


class TrackedTable(faust.Table):  # type: ignore[misc]
    """A table of bytes that remembers the futures of its changelog messages until they are collected.

    Faust throws them away, so that an offset could be committed whose state is not in Kafka yet.
    """

    _sent: list[Any]

    def on_key_set(self, key: Any, value: Any) -> None:
        """Send the row to the changelog."""
        self._track(self.send_changelog(self.partition_for_key(key), key, value))

    def on_key_del(self, key: Any) -> None:
        """Send the deletion to the changelog."""
        self._track(self.send_changelog(self.partition_for_key(key), key, value=None, value_serializer="raw"))

    def collect(self) -> list[Any]:
        """The futures since the last call."""
        sent = getattr(self, "_sent", [])
        self._sent = []
        return sent

    def _track(self, future: Any) -> None:
        if not hasattr(self, "_sent"):
            self._sent = []
        self._sent.append(future)


def write(table: TrackedTable, writes: list[tuple[bytes, bytes | None]]) -> None:
    """Apply a core's writes, in their order; None deletes. Needs the current event of an agent."""
    for key, value in writes:
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

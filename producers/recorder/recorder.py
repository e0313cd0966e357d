"""The recorder: packets of decided batches into the ring, by a thread of its own, and never at the flows' cost.

`write` encodes a batch's packets and hands them over; the thread stores them. A disk that is full, slow or gone
costs packets of the ring, which are counted with the reason and told once, and nothing else.
"""

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import RECORD, RECORD_HEADERS
from producers.engine.model import Batch
from producers.recorder.flowhash import FlowNumbers
from producers.recorder.keeping import Keep, Keeping
from producers.recorder.store import Limits, Piece, Store
from producers.sources.packet import Block, Interface
from producers.sources.write import encode
from runtime.telemetry import Telemetry

_log = logging.getLogger(__name__)

HEADER_BYTES = 128
"""What is kept of a packet of which only headers are wanted and whose payload nobody found."""

_PIECE_BYTES = 4 << 20
_MAX_LINKTYPE = 0xFFFF
_TICK_SECONDS = 1.0
_RETRY_SECONDS = (2.0, 60.0)  # the first wait after trouble, and the longest
_ROOM_BYTES = 16 << 20  # free space that makes going on worth while


class Recorder:
    """Records packets with RECORD or RECORD_HEADERS in their verdict into the ring in `folder`.

    `quota_bytes` bounds the ring, `kept_quota_bytes` what outlives it, `max_age` is in seconds (0: any age). Up to
    `backlog_bytes` wait for the disk; past that `write` waits too (`wait`, for captures that stand still),
    or the packets are counted as not recorded (for live ones). `tell` hears of trouble, and when it is over.

    Raises UsageError where another recorder has the folder or the quota is too small, OSError where the folder
    cannot be written to.
    """

    def __init__(  # noqa: PLR0913  # what bounds a ring
        self,
        folder: Path,
        quota_bytes: int,
        max_age: float = 0.0,
        kept_quota_bytes: int = 1 << 30,
        segment_bytes: int = 128 << 20,
        *,
        backlog_bytes: int = 64 << 20,
        wait: bool = False,
        telemetry: Telemetry | None = None,
        tell: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder, self._wait, self._backlog, self._tell, self._clock = (
            folder,
            wait,
            backlog_bytes,
            tell,
            clock,
        )
        self._limits = Limits(quota_bytes, kept_quota_bytes, segment_bytes, max_age).checked()
        self._telemetry = telemetry or Telemetry("recorder")
        self._interfaces: dict[Interface, int] = {}
        self._numbers = FlowNumbers()
        self._keeping = Keeping(folder)
        folder.mkdir(0o750, parents=True, exist_ok=True)
        self._store: Store | None = Store(folder, self._limits, self._keeping, clock)
        self.since_ns = self._store.since_ns
        """When the oldest segment was begun, in wall-clock time, as this recorder found the ring."""
        self._trouble, self._retry_at, self._retry_seconds = "", 0.0, _RETRY_SECONDS[0]
        self._missed_before = 0
        self._queue: deque[Piece] = deque()
        self._waiting, self._closing, self._over = 0, False, False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Record a batch's packets as their verdicts say. Never raises for the disk's sake."""
        verdicts = batch.facts["verdict"]
        chosen = np.flatnonzero(verdicts & (RECORD | RECORD_HEADERS))
        block = batch.block
        ids = self._interface_ids(block)
        if (ids < 0).any():
            fitting = ids[block.interface[chosen]] >= 0
            self._miss("a link type that pcapng has no number for", int(len(chosen) - fitting.sum()))
            chosen = chosen[fitting]
        if not len(chosen):
            return
        if self._trouble:
            self._miss(self._trouble, len(chosen))
            return
        keep = _header_lengths(batch, chosen)
        numbers, limit = self._numbers.of(batch.facts, chosen), min(_PIECE_BYTES, self._limits.segment_bytes)
        interfaces = tuple(self._interfaces)
        done = 0
        while done < len(chosen):
            lengths = None if keep is None else keep[done:]
            encoded = encode(block, chosen[done:], ids, keep=lengths, limit=limit)
            end = done + len(encoded.positions)
            times = np.maximum(block.time_ns[chosen[done:end]], 0)
            self._hand_over(Piece(interfaces, encoded.data, encoded.positions, numbers[done:end], times))
            done = end

    def keep(self, community_id: str, from_ns: int, to_ns: int) -> None:
        """Keep a flow's packets between two packet times, those to come too, when the ring moves on.

        May be called from any thread. Raises UsageError for what is no Community ID.
        """
        try:
            self._keeping.add(Keep(community_id, from_ns, to_ns, self._clock()))
        except OSError as error:
            _log.warning("%s: %s is kept only while this runs: %s", self.folder, community_id, error.strerror)

    def flush(self) -> None:
        """Return when what was written so far is stored or counted."""
        with self._change:
            self._change.wait_for(lambda: not self._waiting)

    def close(self) -> None:
        """Store what waits, finish the open segment, let go of the folder."""
        with self._change:
            if self._closing:
                return
            self._closing = True
            self._change.notify_all()
        self._thread.join()

    def summary(self) -> dict[str, Any]:
        """Packets and bytes recorded, and the packets that were not, by reason."""
        return {
            "packets": self._telemetry.total("recorded"),
            "bytes": self._telemetry.total("recorded_bytes"),
            "unrecorded": self._telemetry.labels("unrecorded"),
        }

    def _interface_ids(self, block: Block) -> NDArray[np.int64]:
        """The number in the ring of each of a block's interfaces; -1 where pcapng cannot have it."""
        known = self._interfaces
        return np.array(
            [
                known.setdefault(each, len(known)) if each.linktype <= _MAX_LINKTYPE else -1
                for each in block.interfaces
            ],
            dtype=np.int64,
        )

    def _hand_over(self, piece: Piece) -> None:
        size = piece.data.nbytes
        with self._change:
            if self._wait:
                self._change.wait_for(lambda: not self._waiting or self._waiting + size <= self._backlog)
            if self._over:
                self._miss("the recorder has ended", len(piece.numbers))
                return
            if self._waiting and self._waiting + size > self._backlog:
                self._miss("the disk is too slow", len(piece.numbers))
                return
            self._queue.append(piece)
            self._waiting += size
            self._change.notify_all()

    def _miss(self, reason: str, packets: int) -> None:
        with self._change:
            if packets:
                self._telemetry.count("unrecorded", reason, packets)

    def _work(self) -> None:
        """The thread; nobody waits for it once it is over, however that came."""
        try:
            self._serve()
        finally:
            with self._change:
                self._over = True
                self._waiting = 0
                self._change.notify_all()

    def _serve(self) -> None:
        """Store what comes, look after the ring once a second."""
        next_tick = time.monotonic() + _TICK_SECONDS
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: self._queue or self._closing, max(next_tick - time.monotonic(), 0.0)
                )
                piece = self._queue.popleft() if self._queue else None
                over = self._closing and piece is None
            if over:
                break
            if piece is not None:
                self._append(piece)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + _TICK_SECONDS
                self._resume()
                self._guarded(Store.tick)
        self._guarded(Store.close)

    def _append(self, piece: Piece) -> None:
        packets, size = len(piece.numbers), piece.data.nbytes
        stored = self._guarded(lambda store: store.append(piece))
        with self._change:
            if stored:
                self._telemetry.count("recorded", "", packets)
                self._telemetry.count("recorded_bytes", "", size)
            else:
                self._miss(self._trouble, packets)
            self._waiting -= size
            self._change.notify_all()

    def _guarded(self, action: Callable[[Store], None]) -> bool:
        """Do something with the ring; whether it was done. Trouble stops the recording, and nothing else."""
        store = self._store
        if store is None:
            return False
        try:
            action(store)
        except OSError as error:
            self._stop(store, error.strerror or str(error), str(error.filename or self.folder))
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not cost flow records
            _log.exception("the recorder failed")
            self._stop(store, f"a fault of the recorder ({type(error).__name__})", str(self.folder))
        else:
            return True
        return False

    def _stop(self, store: Store, reason: str, place: str) -> None:
        """Let go of the ring until it can be written to again."""
        self._store = None
        try:
            store.close()
        except OSError as error:
            _log.debug("%s: %s; the open segment is indexed when it can be", self.folder, error)
        with self._change:
            self._missed_before = self._telemetry.total("unrecorded")
            self._trouble = reason
        self._retry_seconds = _RETRY_SECONDS[0]
        self._retry_at = time.monotonic() + self._retry_seconds
        self._tell(
            f"{place}: {reason}: packets are not recorded, flows and events go on (make room there, or bring the"
            " folder back: recording goes on by itself; NETFLIGHT_RECORDER__QUOTA bounds the ring)"
        )

    def _resume(self) -> None:
        """Go on where there was trouble, if there is room again."""
        if self._store is not None or time.monotonic() < self._retry_at:
            return
        try:
            room = shutil.disk_usage(self.folder).free >= min(_ROOM_BYTES, 2 * self._limits.segment_bytes)
            self._store = Store(self.folder, self._limits, self._keeping, self._clock) if room else None
        except Exception as error:  # noqa: BLE001  # as above
            _log.debug("%s: still not recording: %s", self.folder, error)
        if self._store is None:
            self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS[1])
            self._retry_at = time.monotonic() + self._retry_seconds
            return
        with self._change:
            self._trouble = ""
            missed = self._telemetry.total("unrecorded") - self._missed_before
        self._tell(f"{self.folder}: recording goes on; {missed:,} packets were not recorded")


def _header_lengths(batch: Batch, chosen: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """How many bytes to keep of each packet; None where all are kept whole."""
    whole = (batch.facts["verdict"][chosen] & RECORD) != 0
    if whole.all():
        return None
    payload = batch.facts["payload"][chosen].astype(np.int64)
    headers = np.where(payload > 0, payload, HEADER_BYTES)
    return np.where(whole, batch.block.captured[chosen], headers)

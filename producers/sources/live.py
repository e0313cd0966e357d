"""A live interface through dumpcap, the only part that needs a privilege, as a child with no other.

As root the child runs as nobody with CAP_NET_RAW and CAP_NET_ADMIN alone; otherwise dumpcap's own file
capabilities decide. It writes pcapng to a pipe; kernel drops come from its interface statistics and its
closing words: both come when it ends.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from producers.sources.reading import Feed
from producers.sources.stdin import PipeFeed
from producers.sources.stream import StreamSource
from runtime.errors import CaptureError, UsageError

STOP_SECONDS = 5.0
ASK_SECONDS = 1.0
KERNEL_BUFFER = 32 << 20
_CAPABILITIES = "-all,+net_raw,+net_admin"
_UNPRIVILEGED = (
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--no-new-privs",
    f"--inh-caps={_CAPABILITIES}",
    f"--ambient-caps={_CAPABILITIES}",
    f"--bounding-set={_CAPABILITIES}",
    "--",
)
_TALLY = re.compile(r"received/dropped on interface '.*': (\d+)/(\d+)")


class LiveSource(StreamSource):
    """Packets of one interface, until `stop`.

    `capture_filter` is a filter in the pcap-filter language, which the kernel applies; `snaplen` limits the
    bytes kept of each packet (0: all); `buffer` is how many bytes of packets wait in the kernel at most, in whole
    MiB, before it drops. Raises UsageError if dumpcap is not installed.
    """

    live = True
    paced = True

    def __init__(
        self,
        interface: str,
        capture_filter: str = "",
        snaplen: int = 0,
        buffer: int = KERNEL_BUFFER,
    ) -> None:
        super().__init__("", interface)
        if shutil.which("dumpcap") is None:
            raise UsageError("dumpcap is not installed", "apt-get install wireshark-common")
        self._command = _command(interface, capture_filter, snaplen, buffer)
        self._child: subprocess.Popen[bytes] | None = None
        self._told_drops = 0
        self._asked = 0.0
        self.packets_received = 0

    @property
    def dropped(self) -> int:
        """Packets that the kernel dropped; dumpcap tells when it ends."""
        return max(super().dropped, self._told_drops)

    @property
    def capturing(self) -> bool:
        """Whether dumpcap has opened the interface, so that no packet from now on is missed."""
        return self._reading is not None and self._reading.reader is not None

    @property
    def child_pid(self) -> int | None:
        """Dumpcap's process id once it runs."""
        return self._child.pid if self._child else None

    def stop(self) -> None:
        """Let dumpcap end as Ctrl-C would; what it has read from the kernel still comes."""
        super().stop()
        self._ask()

    def _ask(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._asked = time.monotonic()
            self._child.send_signal(signal.SIGINT)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Feed]:
        """Run dumpcap, and read what it writes until it ends. Raises CaptureError if it fails."""
        with tempfile.TemporaryFile() as words:
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,  # Ctrl-C is for `stop` to pass on
            )
            self._child = child
            assert child.stdout is not None  # noqa: S101  (it was opened as a pipe)
            if self._stopped:
                self.stop()
            cut: CaptureError | None = None
            feed = PipeFeed(child.stdout.fileno(), self.name)
            try:
                yield feed
            except CaptureError as error:
                cut = error  # dumpcap's own words, if it has any, tell why
            finally:
                _end(child, STOP_SECONDS if feed.ended else 0.0)
            words.seek(0)
            self._account(words, child.returncode)
            if cut is not None and not self._stopped:
                raise cut

    def _over(self) -> bool:
        # Dumpcap ends the stream, so that what the kernel holds still comes. At its very start it hears nothing.
        if self._stopped and time.monotonic() - self._asked > ASK_SECONDS:
            self._ask()
        return False

    def _account(self, words: IO[bytes], status: int) -> None:
        text = words.read().decode("utf-8", "replace")
        if tally := _TALLY.search(text):
            self.packets_received, self._told_drops = int(tally[1]), int(tally[2])
        if status != 0 and not (self._stopped and status == -signal.SIGINT):
            raise _failure(self.name, text)


def _command(interface: str, capture_filter: str, snaplen: int, buffer: int) -> list[str]:
    command = ["dumpcap", "-q", "-n", "-i", interface, "-B", str(buffer), "-w", "-"]
    if snaplen:
        command += ["-s", str(snaplen)]
    if capture_filter:
        command += ["-f", capture_filter]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        return [*_UNPRIVILEGED, *command]
    return command


def _end(child: "subprocess.Popen[bytes]", patience: float) -> None:
    """See the child to its end: by waiting for some seconds, then politely, then not."""
    if child.stdout is not None:
        child.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(patience)
    for how in (signal.SIGINT, signal.SIGKILL):
        if child.poll() is not None:
            return
        child.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)


def _failure(interface: str, text: str) -> CaptureError | UsageError:
    """What dumpcap says, in one line with the next step."""
    told = [line for line in text.splitlines() if line.strip() and not line.startswith("Capturing on")]
    why = " ".join(told)[:300].removeprefix("dumpcap: ").strip() or "dumpcap failed without a word"
    low = why.lower()
    if "permission" in low or "not permitted" in low:
        return CaptureError(
            f"{interface}: no permission to capture", "run as root, or join the group wireshark"
        )
    if "no such device" in low or "no device named" in low or "no interface" in low:
        return UsageError(f"{interface}: no such interface", "dumpcap -D lists them")
    if "filter" in low:
        return UsageError(f"{interface}: {why}", "the filter's language is that of man pcap-filter")
    return CaptureError(f"{interface}: {why}")

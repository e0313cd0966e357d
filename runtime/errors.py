"""The error tree. Every error names the thing, the place and the next step, and shows no traceback.

The command line turns a `NetflightError` into one line on stderr and its `exit_code`.
"""

from runtime.names import shown


class NetflightError(Exception):
    """An expected failure, told in one line.

    `what` names the thing and the place (`capture.pcap: truncated at packet 812`), `hint` is the next
    step a person can take, or empty.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(shown(what))
        self.what = shown(what)
        self.hint = shown(hint)

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class UsageError(NetflightError):
    """The command was asked for something it cannot do: a missing file, an unknown name."""

    exit_code = 2


class ConfigError(NetflightError):
    """A settings, dataset, rule or policy file is wrong; `what` has the file and the place in it."""


class CaptureError(NetflightError):
    """A capture cannot be read to its end; what was read before it stays valid."""


class NotACaptureError(CaptureError):
    """The file holds no packets in a format that is known here."""


class BrokerError(NetflightError):
    """Kafka does not answer, or refuses."""


class DestinationError(NetflightError):
    """A sink's destination does not answer, or refuses for good."""


class DecoderError(NetflightError):
    """tshark cannot be started, or died."""


class StackError(NetflightError):
    """A local server cannot be fetched, started or stopped."""

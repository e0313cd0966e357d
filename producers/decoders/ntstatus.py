"""NT status codes ([MS-ERREF] section 2.3): their names, and which of them are failures."""

from typing import NamedTuple

from producers.decoders.convert import number
from producers.decoders.tables import name_of

PENDING = 0x0000_0103
_MORE_PROCESSING_REQUIRED = 0xC000_0016  # the handshake goes on
_SEVERITY_ERROR = 3


class NtStatus(NamedTuple):
    """A status: its number, the number as tshark writes it, its name (the number where it has none)."""

    value: int
    code: str
    name: str

    @property
    def failed(self) -> bool:
        """Whether the command failed: severity error, but for the one that asks for more."""
        return self.value >> 30 == _SEVERITY_ERROR and self.value != _MORE_PROCESSING_REQUIRED


def nt_status(text: str) -> NtStatus | None:
    """The status that tshark writes as 0x-hexadecimal digits; None where it is no number of 32 bits."""
    value = number(text)
    if value is None or not 0 <= value < 1 << 32:
        return None
    code = f"0x{value:08x}"
    return NtStatus(value, code, name_of("windows.nt_status", value) or code)

"""NT status codes ([MS-ERREF] section 2.3): their names, and which of them are failures."""

from typing import NamedTuple

from producers.decoders.convert import number
from producers.decoders.tables import name_of

PENDING = 0x0000_0103
_SEVERITY_ERROR = 3
_ENDS = frozenset({0xC000_0011, 0xC000_00D9})  # END_OF_FILE, PIPE_EMPTY: all has been read
# The exchange goes on: BUFFER_TOO_SMALL, CANCELLED, RETRY, MORE_PROCESSING_REQUIRED, PATH_NOT_COVERED.
_GOES_ON = frozenset({0xC000_0016, 0xC000_0023, 0xC000_0120, 0xC000_022D, 0xC000_0257})


class NtStatus(NamedTuple):
    """A status: its number, the number as tshark writes it, its name (the number where it has none)."""

    value: int
    code: str
    name: str

    @property
    def outcome(self) -> str:
        """Error where the severity is such, unless it says that all was read; nothing where the exchange goes on.

        Warnings, as that there are no more files or that the answer is longer, are OK.
        """
        if self.value in _GOES_ON:
            return ""
        failed = self.value >> 30 == _SEVERITY_ERROR and self.value not in _ENDS
        return "Error" if failed else "OK"


def nt_status(text: str) -> NtStatus | None:
    """The status that tshark writes as 0x-hexadecimal digits; None where it is no number of 32 bits."""
    value = number(text)
    if value is None or not 0 <= value < 1 << 32:
        return None
    code = f"0x{value:08x}"
    return NtStatus(value, code, name_of("windows.nt_status", value) or code)

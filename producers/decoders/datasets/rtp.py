"""Stub."""
from producers.decoders.base import Decoder
class RtpDecoder(Decoder):
    """Stub."""

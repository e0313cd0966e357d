"""Stub."""
from producers.decoders.base import Decoder
class SipDecoder(Decoder):
    """Stub."""

"""Stub."""
from producers.decoders.base import Decoder
class NfsDecoder(Decoder):
    """Stub."""

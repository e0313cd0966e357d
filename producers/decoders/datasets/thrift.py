"""Stub."""
from producers.decoders.base import Decoder
class ThriftDecoder(Decoder):
    """Stub."""

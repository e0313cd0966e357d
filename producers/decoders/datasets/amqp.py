"""Stub."""
from producers.decoders.base import Decoder
class AmqpDecoder(Decoder):
    """Stub."""

"""Which decoders read which of tshark's layers."""

from dataclasses import dataclass, field

from producers.decoders.base import Decoder
from producers.decoders.registry import decoder_for
from schemas.model import datasets


@dataclass(frozen=True)
class DecodePlan:
    """Which decoders read which of tshark's layers."""

    decoders: tuple[Decoder, ...]
    by_layer: dict[str, Decoder] = field(default_factory=dict)
    nested: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()


def decode_plan() -> DecodePlan:
    """The plan for all datasets that are decoded from packets."""
    decoders = tuple(decoder_for(dataset) for dataset in datasets().values() if dataset.tshark is not None)
    by_layer: dict[str, Decoder] = {}
    nested: set[str] = set()
    bare: set[str] = set()
    beside: dict[str, tuple[str, ...]] = {}
    unread: set[str] = set()
    for decoder in decoders:
        spec = decoder.dataset.tshark
        if spec is not None:
            by_layer |= dict.fromkeys((*spec.protocols, *spec.nested), decoder)
            nested.update(spec.nested)
            bare.update(spec.protocols if spec.bare else ())
            beside |= dict.fromkeys(spec.protocols, spec.beside) if spec.beside else {}
            unread.update(spec.unread)
    return DecodePlan(decoders, by_layer, frozenset(nested), frozenset(bare), beside, frozenset(unread))

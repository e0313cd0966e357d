"""Which decoder turns a dataset's layers into units: `fields` needs no code, the others have a module each."""

from producers.decoders.base import Decoder
from producers.decoders.datasets.anomaly import AnomalyDecoder
from producers.decoders.datasets.arp import ArpDecoder
from producers.decoders.datasets.dns import DnsDecoder
from producers.decoders.datasets.http import HttpDecoder
from producers.decoders.datasets.icmp import IcmpDecoder
from producers.decoders.datasets.ssh import SshDecoder
from producers.decoders.datasets.tls import TlsDecoder
from schemas.errors import SchemaError
from schemas.model import Dataset

DECODERS: dict[str, type[Decoder]] = {
    "fields": Decoder,
    "anomaly": AnomalyDecoder,
    "arp": ArpDecoder,
    "dns": DnsDecoder,
    "http": HttpDecoder,
    "icmp": IcmpDecoder,
    "ssh": SshDecoder,
    "tls": TlsDecoder,
}


def decoder_for(dataset: Dataset) -> Decoder:
    """The decoder of a dataset; raises SchemaError where the name in its YAML is unknown."""
    if dataset.decoder not in DECODERS:
        known = ", ".join(sorted(DECODERS))
        raise SchemaError(f"{dataset.name}.yaml: decoder: {dataset.decoder!r} is none of {known}")
    return DECODERS[dataset.decoder](dataset)

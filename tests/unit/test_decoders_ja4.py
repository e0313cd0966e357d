from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.datasets.ja4 import ClientHello, is_grease, ja4

# The example in FoxIO's technical description of JA4.
CIPHERS = [
    *(0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D),
    *(0x002F, 0x0035),
]
EXTENSIONS = [
    *(0x001B, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002D, 0x000D, 0x0005, 0x0023, 0x0012, 0x002B, 0xFF01),
    *(0x000B, 0x000A, 0x0015),
]
ALGORITHMS = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]
GREASE = [0x0A0A, 0x1A1A, 0xFAFA]


def hello(**changes: object) -> ClientHello:
    base = ClientHello("t", 0x0303, [0x0304, 0x0303], CIPHERS, EXTENSIONS, ALGORITHMS, b"h2")
    return base._replace(**changes)


def test_the_published_example() -> None:
    assert ja4(hello()) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


@given(st.lists(st.sampled_from(GREASE), max_size=4), st.randoms())
def test_grease_and_order_do_not_matter(grease: list[int], random: object) -> None:
    ciphers, extensions = [*CIPHERS, *grease], [*EXTENSIONS, *grease]
    random.shuffle(ciphers)  # type: ignore[attr-defined]
    random.shuffle(extensions)  # type: ignore[attr-defined]
    versions = [*grease, 0x0304, 0x0303]
    changed = hello(ciphers=ciphers, extensions=extensions, supported_versions=versions)
    assert ja4(changed) == ja4(hello())


def test_the_order_of_signature_algorithms_matters() -> None:
    assert ja4(hello(signature_algorithms=ALGORITHMS[::-1])) != ja4(hello())


def test_what_is_missing_is_zeros() -> None:
    assert ja4(hello(ciphers=[], extensions=[], signature_algorithms=[], alpn=b"")) == (
        "t13i000000_000000000000_000000000000"
    )


def test_versions_and_transports() -> None:
    assert ja4(hello(supported_versions=[], version=0x0300)).startswith("ts3d")
    assert ja4(hello(transport="d", supported_versions=[0xFEFD, 0xFEFF])).startswith("dd2d")
    assert ja4(hello(transport="q")).startswith("q13d")


@given(
    st.lists(st.integers(0, 0xFFFF), max_size=200),
    st.lists(st.integers(0, 0xFFFF), max_size=200),
    st.binary(),
)
def test_any_hello_has_a_fingerprint_of_its_form(
    ciphers: list[int], extensions: list[int], alpn: bytes
) -> None:
    told = ja4(hello(ciphers=ciphers, extensions=extensions, alpn=alpn))
    head, hashed_ciphers, hashed_extensions = told.split("_")
    assert len(head) == 10
    assert len(hashed_ciphers) == len(hashed_extensions) == 12
    assert int(head[4:6]) == min(99, sum(not is_grease(value) for value in ciphers))

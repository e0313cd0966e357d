"""A policy ready to decide, and one that is read again when its file changes."""

import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import FACTS
from producers.engine.policy.check import Lists
from producers.engine.policy.file import Rule, read_policy
from producers.engine.policy.generate import COUNTERS, LOCAL, generate
from producers.engine.policy.syntax import Item, Name, Net, Span
from producers.sources.packet import Block
from runtime.errors import ConfigError, NetflightError
from runtime.settings import LOCAL_NETWORKS, cache_dir
from schemas.model import datasets

_NATIVE = Path(__file__).with_name("native.py")
_LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Policy:
    """Compiled rules. `counts` has a row a rule and the columns of `generate.COUNTERS`.

    `name` is what it was asked for by, `files` what it was read from.
    """

    def __init__(self, name: str, rules: Sequence[Rule], files: Sequence[Path], local: Iterable[str]) -> None:
        self.name, self.rules, self.files = name, tuple(rules), tuple(files)
        code = generate(self.rules, [ip_network(text) for text in local])
        native = _compiled(code.source)
        self.source = code.source
        self._tables = _frozen(code.tables)
        self._admit: Callable[..., None] | None = native.admit if code.drops else None
        self._decide: Callable[..., None] = native.decide
        self.counts: NDArray[np.int64] = np.zeros((len(self.rules), len(COUNTERS)), np.int64)

    def admit(self, facts: NDArray[Any], block: Block) -> None:
        """Set kind IGNORED on the packets that a drop rule takes; row i of `facts` is packet i of the block."""
        if self._admit is not None:
            self._run(self._admit, facts, block)

    def decide(self, facts: NDArray[Any], block: Block) -> None:
        """Write verdict and rule of every other packet; row i of `facts` is packet i of the block."""
        self._run(self._decide, facts, block)

    def _run(self, function: Callable[..., None], facts: NDArray[Any], block: Block) -> None:
        columns: tuple[NDArray[Any], ...] = (block.buffer, block.offset, block.captured, block.wire)
        function(facts, *(_frozen(column) for column in columns), self._tables, self.counts)

    def figures(self) -> dict[str, dict[str, int]]:
        """What every rule took so far, by its name."""
        return {
            rule.name: dict(zip(COUNTERS, row, strict=True))
            for rule, row in zip(self.rules, self.counts.tolist(), strict=True)
        }


def load_policy(named: str | Path = "default", local_networks: Iterable[str] = LOCAL_NETWORKS) -> Policy:
    """The policy of a shipped name (`default`, `all`) or a file.

    Its code is compiled when it first decides, or loaded from the cache folder. Raises PolicyError with the
    places of all mistakes, UsageError where there is no such policy.
    """
    local = tuple(local_networks)
    read = read_policy(named, builtin_lists(local))
    return Policy(str(named), read.rules, read.files, local)


class LivePolicy:
    """A policy that is read again when one of its files has changed; else the same as Policy.

    A broken version is refused with a warning and the old one stays. The new one is compiled beside the
    work and takes over between two blocks. `figures` adds up over all versions, by the rules' names.
    """

    def __init__(self, named: str | Path, local_networks: Iterable[str] = LOCAL_NETWORKS) -> None:
        self._named, self._local = named, tuple(local_networks)
        self._policy = load_policy(named, self._local)
        self._stamp = _stamp(self._policy.files)
        self._looked = time.monotonic()
        self._past: dict[str, dict[str, int]] = {}
        self._next: Policy | None = None
        self._thread: threading.Thread | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._policy.rules

    @property
    def counts(self) -> NDArray[np.int64]:
        """The counts of the rules in force, since they are."""
        return self._policy.counts

    def admit(self, facts: NDArray[Any], block: Block) -> None:
        """As Policy's; takes a new version over first."""
        self._refresh()
        self._policy.admit(facts, block)

    def decide(self, facts: NDArray[Any], block: Block) -> None:
        """As Policy's."""
        self._policy.decide(facts, block)

    def figures(self) -> dict[str, dict[str, int]]:
        """What every rule took so far, of this version and those before it."""
        return _added(self._past, self._policy.figures())

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if self._next is not None:
                self._past = self.figures()
                self._policy, self._next = self._next, None
                _log.warning("%s: read again, %d rules", self._named, len(self._policy.rules))
        if self._thread is None and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            stamp = _stamp(self._policy.files)
            if stamp != self._stamp:
                self._stamp = stamp
                self._thread = threading.Thread(target=self._load, name="policy", daemon=True)
                self._thread.start()

    def _load(self) -> None:
        try:
            policy = load_policy(self._named, self._local)
            warm(policy)
        except NetflightError as error:
            _log.warning("%s; the policy as it was stays", error)
        else:
            self._next = policy


def warm(policy: Policy) -> None:
    """Compile a policy's code now, or load it, by letting it decide nothing."""
    empty = np.zeros(0, np.int64)
    block = Block(1, np.zeros(0, np.uint8), empty, empty, empty, empty, np.zeros(0, np.int32), ())
    facts = np.zeros(0, FACTS)
    policy.admit(facts, block)
    policy.decide(facts, block)


def builtin_lists(local_networks: Iterable[str]) -> Lists:
    """The lists that every policy has: `local`, and what the datasets need decoded in full."""
    specs = [dataset.tshark.decode for dataset in datasets().values() if dataset.tshark is not None]
    tcp = sorted({port for spec in specs for port in spec.tcp})
    udp = sorted({port for spec in specs for port in spec.udp})
    sctp = sorted({port for spec in specs for port in spec.sctp})
    protocols = sorted({number for spec in specs for number in spec.ip})
    signatures = sorted({name for spec in specs for name in spec.signatures})
    networks: tuple[Item, ...] = tuple(Net(ip_network(text), single=False, at=0) for text in local_networks)
    return {
        LOCAL: networks,
        "dataset_tcp_ports": tuple(Span(port, port, 0) for port in tcp),
        "dataset_udp_ports": tuple(Span(port, port, 0) for port in udp),
        "dataset_sctp_ports": tuple(Span(port, port, 0) for port in sctp),
        "dataset_ip_protocols": tuple(Span(number, number, 0) for number in protocols),
        "dataset_signatures": tuple(Name(name, 0) for name in signatures),
    }


def _compiled(source: str) -> ModuleType:
    """The module of a generated source, from the cache folder: numba keeps the compiled code by its file."""
    digest = hashlib.sha256(source.encode() + _NATIVE.read_bytes()).hexdigest()[:16]
    file = cache_dir() / "policies" / digest / "rules.py"
    try:
        if not file.is_file():
            _write(file, source)
        name = f"netflight_policy_{digest}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{file}: cannot be loaded", "remove that folder")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where numba looks for it when it loads compiled code
        spec.loader.exec_module(module)
    except OSError as error:
        hint = "NETFLIGHT_CACHE names a folder that can be written"
        raise ConfigError(f"{file}: {error.strerror}", hint) from error
    return module


def _write(file: Path, source: str) -> None:
    """Write the file whole, so that another process never reads a part of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=file.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(source)
    Path(draft).replace(file)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array as one that cannot be written: numba would compile once more for the other kind."""
    view = array.view()
    view.flags.writeable = False
    return view


def _stamp(files: Iterable[Path]) -> tuple[object, ...]:
    """What tells that one of the files has changed; a file that is gone for a moment is no change."""
    stamps: list[object] = []
    for file in files:
        try:
            found = file.stat()
        except OSError as error:
            _log.debug("%s: %s", file, error.strerror)
            stamps.append(None)
        else:
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(stamps)


def _added(
    past: Mapping[str, Mapping[str, int]], now: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    names = dict.fromkeys([*now, *past])
    zero = dict.fromkeys(COUNTERS, 0)
    return {
        name: {column: past.get(name, zero)[column] + now.get(name, zero)[column] for column in COUNTERS}
        for name in names
    }

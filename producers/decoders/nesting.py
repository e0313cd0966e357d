"""Which IP packet each layer of a packet belongs to: they stand in each other where there are tunnels.

An event carries the addresses of its packet's flow, that is of the innermost IP packet that the engine found. What
tshark shows of another IP packet, further out or further in, must not be in such an event.
"""

from typing import NamedTuple

from producers.decoders.protocols import HOLDING, NETWORKS, QUOTING
from producers.decoders.tree import Tree, find_all, layers_of

_QUOTED = -1


class Nesting(NamedTuple):
    """How many IP headers stand in each other, and, by a layer's name, how many are before each time it is there.

    `names` are those of all layers, in their order. A header counts as before itself. What an ICMP error quotes belongs
    to nothing (-1). `before` is empty if all of the packet belongs to one depth.
    """

    depth: int
    names: tuple[str, ...] = ()
    before: dict[str, tuple[int, ...]] = {}  # noqa: RUF012  # nobody writes to it

    def names_to(self, depth: int) -> tuple[str, ...]:
        """The names of the layers that belong to the IP packet at a depth or are around it; none beyond the last."""
        if depth > self.depth:
            return ()
        found, count = [], 0
        for name in self.names:
            count += name in NETWORKS
            if count > depth:
                break
            found.append(name)
        return tuple(found)


NONE, ONE = Nesting(0), Nesting(1)


def nesting_of(names: tuple[str, ...]) -> Nesting:
    """How the layers of those names, in their order, stand in each other."""
    before: dict[str, list[int]] = {}
    depth, quoted = 0, False
    for name in names:
        depth += name in NETWORKS and not quoted
        before.setdefault(name, []).append(_QUOTED if quoted else depth)
        quoted = quoted or name in QUOTING
    return Nesting(depth, names, {name: tuple(places) for name, places in before.items()})


def names_of(found: Tree) -> list[str]:
    """The names of the layers of a record, equal ones beside each other, where the first one is."""
    return [
        name for name, value in found.items() for _ in range(len(value) if isinstance(value, list) else 1)
    ]


def with_held(found: Tree, names: list[str]) -> list[str]:
    """The names of layers with those of the IP headers that are in the trees of others, each after what holds it.

    Where an A-MSDU holds several packets, what follows is as deep as if each stood in the one before: it cannot be
    said which of them it belongs to, and it belongs to no flow then.
    """
    held = []
    for name in names:
        held.append(name)
        if name in HOLDING:
            trees = layers_of(found[name])
            held += [each for each in NETWORKS for tree in trees for _ in find_all(tree, each)]
    return held


def placed(found: Tree, nesting: Nesting, depth: int) -> tuple[Tree, Tree]:
    """The layers of a record that belong to the IP packet at `depth`, and those that belong to another one.

    At 0, where there is no flow and an event has no addresses, what tshark says of the whole belongs there, too.
    """
    kept: Tree = {}
    left: Tree = {}
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        before = nesting.before.get(name, (nesting.depth,) * len(values))
        if len(before) != len(values):
            before = (depth if set(before) == {depth} else 0,) * len(values)
        for place, layer in zip(before, values, strict=True):
            if place == depth or (not depth and name.startswith("_ws.")):
                kept.setdefault(name, []).append(layer)
            elif place != _QUOTED:
                left.setdefault(name, []).append(layer)
    return kept, left

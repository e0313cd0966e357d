"""Packets that follow each other in one block are told as those that come in a block each, which no train can take."""

import numpy as np
import pytest

from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import FACTS, Part
from producers.sources.opening import expand, open_path
from tests.engines import as_block, figures

CAPTURES = expand(["samples"]).captures
MOST = 20_000


@pytest.mark.parametrize("path", CAPTURES)
def test_a_train_is_told_as_its_packets_one_by_one(path: str) -> None:
    packets = [packet for block in open_path(path).blocks() for packet in block][:MOST]
    together, alone = FlowEngine(), FlowEngine()
    facts = together.feed_rows(as_block(packets)).facts
    rows = [alone.feed_rows(as_block([packet])).facts.copy() for packet in packets]
    assert len(rows) > 1
    for name in set(FACTS.names or ()) - {"slot"}:  # rows of the table are free again after each block
        assert np.array_equal(facts[name], np.concatenate([row[name] for row in rows])), name
    assert together.accounting == alone.accounting
    assert [*map(figures, together.close())] == [*map(figures, alone.close())]


def test_the_samples_have_trains() -> None:
    bulk = 0
    for path in CAPTURES:
        for block in open_path(path).blocks():
            bulk += int(
                np.isin(FlowEngine().feed_rows(block).facts["part"], (Part.BODY, Part.ENCRYPTED)).sum()
            )
    assert bulk > 500

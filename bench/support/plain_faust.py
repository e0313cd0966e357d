"""Traffic by protocol as Faust's own documentation would write it: the other side of `bench streams`.

An agent over a topic of JSON, a tumbling window of 60 seconds relative to the event's time, a RocksDB table;
Faust's own transport, delivery and offsets. What differs from its defaults is said beside it.

    python -m bench.support.plain_faust ID BOOTSTRAP TOPIC PARTITIONS FOLDER
"""

import sys
from datetime import datetime, timedelta
from typing import Any

import faust

TABLE = "traffic"


def build(ident: str, bootstrap: str, topic: str, partitions: int, folder: str) -> faust.App:
    """The app, whose consumer group is `ident`."""
    app = faust.App(
        ident,
        broker=f"kafka://{bootstrap}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=partitions,
        broker_commit_interval=1.0,  # as our worker's
        web_enabled=False,
    )
    flows = app.topic(topic, value_serializer="json")
    # Windows expire by the machine's clock, and these flows are of any day: with an hour, say, they would be
    # deleted while they are being counted.
    traffic = (
        app.Table(TABLE, default=lambda: [0, 0, 0], partitions=partitions, options={"driver": "rocksdict"})
        .tumbling(timedelta(seconds=60), expires=timedelta(days=36_500))
        .relative_to(_event_time)
    )

    @app.agent(flows)  # type: ignore[untyped-decorator]
    async def count(stream: Any) -> None:
        async for flow in stream:
            if not flow["flow"]["final"]:
                continue
            network = flow["network"]
            group = (network.get("protocol", "unknown"), network["transport"])
            records, packets, volume = traffic[group].value()
            traffic[group] = [records + 1, packets + network["packets"], volume + network["bytes"]]

    return app


def _event_time(event: Any) -> float:
    return datetime.fromisoformat(event.value["@timestamp"]).timestamp()


def main(ident: str, bootstrap: str, topic: str, partitions: str, folder: str) -> None:
    """Run until SIGTERM."""
    app = build(ident, bootstrap, topic, int(partitions), folder)
    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])

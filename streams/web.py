"""The worker's web pages: /health and /metrics, nothing else; Faust's own would show the tables."""

from collections.abc import Callable
from typing import Any

from runtime.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def add_pages(app: Any, telemetry: Telemetry, waiting: Callable[[], int]) -> None:
    """Add /health (200 while partitions are at work, 503 while they are handed out) and /metrics.

    `waiting` tells what was read and has not led to a result yet: batches, panes, windows.
    """

    @app.page("/health")  # type: ignore[untyped-decorator]
    async def health(view: Any, _request: Any) -> Any:
        ready = not app.rebalancing and app.flow_control.is_active()
        body = {
            "status": "ready" if ready else "starting",
            "partitions": len(app.assignor.assigned_actives()),
            "waiting": waiting(),
        }
        return view.json(body, status=200 if ready else 503)

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def metrics(view: Any, _request: Any) -> Any:
        return view.bytes(prometheus(telemetry).encode(), content_type="text/plain")


def prometheus(telemetry: Telemetry) -> str:
    """The counters in Prometheus' text format (exposition format 0.0.4)."""
    lines = []
    for name in sorted(telemetry.counters):
        metric = f"netflight_{telemetry.part}_{name}_total"
        lines.append(f"# TYPE {metric} counter")
        for label, value in telemetry.labels(name).items():
            escaped = label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            lines.append(f'{metric}{{label="{escaped}"}} {value}' if label else f"{metric} {value}")
    return "\n".join(lines) + "\n"

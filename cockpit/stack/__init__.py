"""The local stack: real Kafka and Elasticsearch, without a container, on loopback, as an unprivileged user.

    with up("demo", ephemeral=True, report=print) as stack:
        stack.spawn("worker", [sys.executable, "-m", "cockpit", "worker"])

- `machine`  what the machine must have: a JDK, room, free ports, an unprivileged user
- `fetch`    the programs, by Maven, checked and cached
- `process`  processes and their records
- `kafka`, `elasticsearch`  each server's settings, command line and readiness; `server` what they share
- `folder`   what a stack leaves on disk
- `stack`    a stack and its parts;  `local`  stacks by name;  `keeper`  ends one whose owner is gone
"""

from cockpit.stack.local import attach, down, status, up
from cockpit.stack.stack import PartStatus, Server, Stack

__all__ = ["PartStatus", "Server", "Stack", "attach", "down", "status", "up"]

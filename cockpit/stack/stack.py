"""A stack: one Kafka and one Elasticsearch on loopback, and the parts that run against them."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from cockpit.stack import elasticsearch, kafka, process
from cockpit.stack.fetch import Report
from cockpit.stack.folder import SERVERS, Plan, part_names, remove_stack
from cockpit.stack.server import Command, Place, find_place, server_environment
from runtime.errors import StackError, UsageError
from runtime.lifecycle import uninterrupted

Server = Literal["kafka", "elasticsearch"]
READY_SECONDS = 600.0  # one that died is noticed at once; a slow machine with much data takes its time
SERVER_STOP_SECONDS = 30.0
PART_STOP_SECONDS = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PartStatus:
    """One process of a stack: `state` is running, no answer (it lives, but is not ready) or stopped."""

    part: str
    pid: int | None
    state: str
    address: str
    log: Path


class PortTakenError(StackError):
    """Somebody took a port between our choice and the server's start."""


class Stack:
    """A stack and its processes. `up` and `attach` make one; as a context manager it goes down at the end."""

    def __init__(self, name: str, folder: Path, plan: Plan, report: Report) -> None:
        self.name = name
        self.folder = folder
        self.plan = plan
        self.report = report
        self._place: Place | None = None
        self._spawned: dict[str, tuple[list[str], dict[str, str]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    @property
    def kafka_bootstrap(self) -> str:
        """Kafka's address, for bootstrap.servers."""
        return f"127.0.0.1:{self.plan.kafka_port}"

    @property
    def elasticsearch_url(self) -> str:
        """Elasticsearch's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.plan.elasticsearch_port}"

    def environment(self) -> dict[str, str]:
        """What a child needs to work against this stack; its state folder is the stack's own."""
        return {
            "NETFLIGHT_KAFKA__BOOTSTRAP": self.kafka_bootstrap,
            "NETFLIGHT_ELASTICSEARCH__URLS": json.dumps([self.elasticsearch_url]),
            "NETFLIGHT_STATE": str(self.folder / "state"),
        }

    # Parts: our own processes.

    def spawn(self, part: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Start a part against this stack, its output in its log; returns its PID.

        `env` goes over our environment and the stack's. Raises StackError if the part runs already.
        """
        self._check_part(part)
        if self.part_alive(part):
            raise StackError(f"{part}: runs already in stack {self.name}", "stop it first")
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path, **self.environment(), **(env or {})}
        with uninterrupted():  # or a process would run that no record names
            record = process.start(argv, log=self.log(part), env=environment)
            record.write(self._record(part))
        self._spawned[part] = (list(argv), dict(env or {}))
        return record.pid

    def stop_part(self, part: str, timeout: float = PART_STOP_SECONDS) -> None:
        """SIGTERM, after `timeout` seconds SIGKILL, also to what the part started; one that is stopped is fine."""
        self._check_part(part)
        self._end(part, timeout)

    def kill_part(self, part: str) -> None:
        """SIGKILL the part and all it started, as a crash would."""
        self._check_part(part)
        self._end(part, None)

    def restart_part(self, part: str) -> int:
        """Stop the part if it runs, start it again as this object's `spawn` did; returns the new PID."""
        self._check_part(part)
        if part not in self._spawned:
            raise StackError(f"{part}: was not started here", f"spawn it; stack {self.name} keeps no command")
        self.stop_part(part)
        argv, env = self._spawned[part]
        return self.spawn(part, argv, env)

    def part_alive(self, part: str) -> bool:
        """Whether the process of a part or a server runs."""
        return process.alive(process.read_record(self._record(part)))

    def log(self, part: str) -> Path:
        """The log file of a part or a server."""
        return self.folder / "logs" / f"{part}.log"

    # Servers: the same ports and the same data at every start.

    def start_server(self, name: Server) -> None:
        """Start a stopped server and wait until it answers; raises StackError with its last log lines if it dies."""
        offset = self._launch(name)
        self._await(name, offset)

    def stop_server(self, name: Server, *, kill: bool = False) -> None:
        """Stop a server; `kill` is SIGKILL, as a crash would."""
        self._end(name, None if kill else SERVER_STOP_SECONDS)

    def down(self, *, remove: bool = False, seconds: float = SERVER_STOP_SECONDS) -> list[str]:
        """Stop the parts, then the servers; returns what ran. An ephemeral stack's folder goes, too.

        A server that has not stopped after `seconds` is killed. Ctrl-C waits until this is done,
        so that nothing is left running.
        """
        with uninterrupted():
            stopped = self._end_all(part_names(self.folder), PART_STOP_SECONDS)
            stopped += self._end_all(SERVERS, seconds)
            keeper = process.read_record(self.folder / "keeper.json")
            if keeper is not None:
                process.kill(keeper)
            if remove or self.plan.owner is not None:
                remove_stack(self.folder)
        return stopped

    def status(self) -> list[PartStatus]:
        """The servers, then the parts by name."""
        return [self._status(part) for part in (*SERVERS, *part_names(self.folder))]

    # Inside.

    @property
    def _cluster(self) -> str:
        """Elasticsearch's cluster: the controller's port was drawn, so another stack of this name has another."""
        return f"netflight-{self.name}-{self.plan.controller_port}"

    def start_missing(self, servers: Sequence[Server] = SERVERS) -> None:
        """Start those of the servers that do not run, side by side, and wait until they answer."""
        missing = [name for name in servers if not self.part_alive(name)]
        self.report(f"starting {' and '.join(missing)}")
        with ThreadPoolExecutor(len(missing)) as pool:
            # Elasticsearch is first: it takes longest, and formatting Kafka's storage runs beside it.
            with uninterrupted():  # or a thread could start that the pool does not know of, and not wait for
                launches = [pool.submit(self._launch, name) for name in reversed(missing)]
            offsets = [launch.result() for launch in launches]
        for name, offset in zip(reversed(missing), offsets, strict=True):
            self._await(name, offset)

    def use(self, place: Place) -> None:
        """Name the machine's means, found once."""
        self._place = place

    def keep(self, owner: process.ProcessRecord) -> None:
        """Start the keeper, which ends this stack when the owner is gone."""
        argv = [
            sys.executable,
            "-P",
            "-m",
            "cockpit.stack.keeper",
            str(owner.pid),
            str(owner.start),
            owner.boot,
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        log = self.log("keeper")
        keeper = process.start([*argv, str(self.folder)], log=log, env=environment, cwd=Path("/"))
        keeper.write(self.folder / "keeper.json")

    def _launch(self, name: Server) -> int:
        """Start a server's process; returns where its log stood before."""
        if self.part_alive(name):
            raise StackError(f"{name}: runs already in stack {self.name}")
        if self._place is None:
            self._place = find_place(self.name, self.folder, self.report)
        command = self._command(name, self._place)
        log = self.log(name)
        offset = log.stat().st_size if log.exists() else 0
        record = process.start(
            command.argv,
            log=log,
            env=server_environment(command),
            cwd=command.cwd,
            identity=self._place.identity,
        )
        record.write(self._record(name))
        return offset

    def _command(self, name: Server, place: Place) -> Command:
        if name == "kafka":
            return kafka.prepare(
                place, self.plan.kafka_port, self.plan.controller_port, quick=self.plan.quick
            )
        return elasticsearch.prepare(
            place, self.plan.elasticsearch_port, self._cluster, quick=self.plan.quick
        )

    def _answers(self, name: Server) -> bool:
        if name == "kafka":
            return kafka.ready(self.kafka_bootstrap, self.folder)
        return elasticsearch.ready(self.plan.elasticsearch_port, self._cluster)

    def _await(self, name: Server, offset: int) -> None:
        """Wait until the server answers; raises StackError if it dies or takes too long."""
        began = time.monotonic()
        while not self._answers(name):
            if not self.part_alive(name):
                raise self._died(name, offset)
            if time.monotonic() - began > READY_SECONDS:
                log = self.log(name)
                raise StackError(
                    f"{name}: no answer within {READY_SECONDS:.0f} s\n{process.tail(log)}",
                    f"its whole log is {log}",
                )
            time.sleep(process.POLL_SECONDS)
        self.report(f"{name} answers at {self._address(name)}")

    def _died(self, name: Server, offset: int) -> StackError:
        """What to raise for a server that ended at its start; its log from `offset` on tells why."""
        log = self.log(name)
        with log.open("rb") as file:
            file.seek(offset)
            said = file.read()
        kind = PortTakenError if b"Address already in use" in said else StackError
        return kind(f"{name}: died at its start\n{process.tail(log)}", f"its whole log is {log}")

    def _end(self, part: str, seconds: float | None) -> bool:
        """Stop a process, by SIGKILL if `seconds` is None; returns whether it ran."""
        record = process.read_record(self._record(part))
        if record is None:
            return False
        ran = process.alive(record)
        if seconds is None:
            process.kill(record)
        else:
            process.stop(record, seconds)
        self._record(part).unlink(missing_ok=True)
        return ran

    def _end_all(self, parts: Sequence[str], seconds: float) -> list[str]:
        """Stop several at once, so that the slowest says how long it takes; returns which ran."""
        if not parts:
            return []
        with ThreadPoolExecutor(len(parts)) as pool:
            ran = list(pool.map(lambda part: self._end(part, seconds), parts))
        return [part for part, was in zip(parts, ran, strict=True) if was]

    def _status(self, part: str) -> PartStatus:
        record = process.read_record(self._record(part))
        running = process.alive(record)
        state = "running" if running else "stopped"
        if running and any(part == server and not self._answers(server) for server in SERVERS):
            state = "no answer"
        return PartStatus(
            part, record.pid if running and record else None, state, self._address(part), self.log(part)
        )

    def _address(self, part: str) -> str:
        return {"kafka": self.kafka_bootstrap, "elasticsearch": self.elasticsearch_url}.get(part, "")

    def _record(self, part: str) -> Path:
        return self.folder / "parts" / f"{part}.json"

    def _check_part(self, part: str) -> None:
        if part in SERVERS or not part.replace("-", "").replace("_", "").isalnum():
            raise UsageError(
                f"{part!r}: not a part's name", "letters, digits, - and _; servers have their own"
            )

"""Local stacks by name: up, attach, status, down. One command at a time works on a stack."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cockpit.stack.fetch import Report, exclusive
from cockpit.stack.folder import (
    SERVERS,
    Plan,
    ephemeral_name,
    new_owner,
    open_stack,
    read_plan,
    stack_folder,
    sweep,
)
from cockpit.stack.machine import choose_port, open_folder
from cockpit.stack.process import ProcessRecord
from cockpit.stack.server import find_place
from cockpit.stack.stack import PartStatus, PortTakenError, Server, Stack
from runtime.errors import StackError

LIKED_PORTS = {"kafka": 9092, "elasticsearch": 9200}
PORT_ATTEMPTS = 3
STARTING_STOP_SECONDS = 2.0


def up(  # noqa: PLR0913  # each named
    name: str = "local",
    *,
    ephemeral: bool = False,
    report: Report = lambda _: None,
    kafka_port: int | None = None,
    elasticsearch_port: int | None = None,
    servers: Sequence[Server] = SERVERS,
    quick: bool = False,
) -> Stack:
    """Start the stack `name`, or what is missing of it; returns it when its `servers` answer.

    A stack that runs is returned as it is. An ephemeral one gets a name of its own, dies with this process
    and leaves nothing. `quick` is for little data: see Plan. What fails or is interrupted (Ctrl-C) is stopped again.
    Raises StackError: no JDK, no Maven, no room, a port in use, a server that dies.
    """
    stack_folder(name)
    sweep()
    owner = new_owner(os.getpid()) if ephemeral else None
    unique = ephemeral_name(name, owner) if owner else name
    folder = stack_folder(unique)
    if owner is not None:
        return _up_anew(unique, owner, report, (kafka_port, elasticsearch_port), servers, quick=quick)
    with _locked(folder, report):
        running = _attach(unique, folder, report)
        if running is None:
            return _up_anew(unique, None, report, (kafka_port, elasticsearch_port), servers, quick=quick)
        _check_ports(running, kafka_port, elasticsearch_port)
        if not all(running.part_alive(server) for server in servers):
            _start(running, servers)
        return running


def attach(name: str = "local", report: Report = lambda _: None) -> Stack | None:
    """The stack of this name if any of its servers runs, else None."""
    return _attach(name, stack_folder(name), report)


def status(name: str = "local") -> list[PartStatus]:
    """The processes of a stack; empty where there never was one of this name."""
    folder = stack_folder(name)
    plan = read_plan(folder)
    return [] if plan is None else Stack(name, folder, plan, lambda _: None).status()


def down(name: str = "local", *, remove: bool = False) -> list[str]:
    """Stop a stack; returns what was stopped. Data and logs stay, unless `remove`."""
    folder = stack_folder(name)
    plan = read_plan(folder)
    if plan is None:
        return []
    with _locked(folder, lambda _: None):
        return Stack(name, folder, plan, lambda _: None).down(remove=remove)


def _attach(name: str, folder: Path, report: Report) -> Stack | None:
    plan = read_plan(folder)
    if plan is None:
        return None
    stack = Stack(name, folder, plan, report)
    return stack if any(stack.part_alive(server) for server in SERVERS) else None


def _up_anew(  # noqa: PLR0913  # what `up` was given
    name: str,
    owner: ProcessRecord | None,
    report: Report,
    ports: tuple[int | None, int | None],
    servers: Sequence[Server],
    *,
    quick: bool,
) -> Stack:
    """Choose ports and start; where one of our choice was taken meanwhile, choose again."""
    folder = stack_folder(name)
    place = find_place(name, folder, report)
    open_stack(folder)
    for attempt in range(1, PORT_ATTEMPTS + 1):
        stack = Stack(name, folder, _plan(folder, owner, *ports, quick=quick), report)
        stack.use(place)
        try:
            _start(stack, servers)
        except PortTakenError:
            if attempt == PORT_ATTEMPTS or any(ports):
                raise
            report("a port was taken meanwhile: trying others")
            open_stack(folder)
        else:
            return stack
    raise AssertionError("the last attempt returns or raises")


def _start(stack: Stack, servers: Sequence[Server]) -> None:
    """Start those that do not run, and wait; whatever goes wrong, Ctrl-C included, what was started is stopped."""
    before = {server for server in SERVERS if stack.part_alive(server)}
    stack.plan.write(stack.folder)
    try:
        if stack.plan.owner is not None:
            stack.keep(stack.plan.owner)
        stack.start_missing(servers)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            stack.report("stopping what was started")
        if before:
            for server in SERVERS:
                if server not in before:
                    stack.stop_server(server)
        else:
            # A server stops slowly while it starts, and has nothing yet that a crash would lose.
            stack.down(seconds=STARTING_STOP_SECONDS)
        raise


def _check_ports(stack: Stack, kafka_port: int | None, search_port: int | None) -> None:
    """Raise StackError where a running stack has other ports than those asked for."""
    for server, asked, has in (
        ("Kafka", kafka_port, stack.plan.kafka_port),
        ("Elasticsearch", search_port, stack.plan.elasticsearch_port),
    ):
        if asked not in (None, has):
            raise StackError(
                f"stack {stack.name} runs, with {server} on port {has}, not {asked}",
                "./netflight down stops it",
            )


@contextmanager
def _locked(folder: Path, report: Report) -> Iterator[None]:
    open_folder(folder.parent)
    with exclusive(
        folder.with_name(f".{folder.name}.lock"),
        lambda: report(f"another netflight is at work on stack {folder.name}: waiting for it"),
    ):
        yield


def _plan(
    folder: Path, owner: ProcessRecord | None, kafka_port: int | None, search_port: int | None, *, quick: bool
) -> Plan:
    """Ports: those asked for, else those of the last start if they are free, else the usual ones, else any."""
    last = read_plan(folder)
    taken: set[int] = set()
    usual = {} if owner else LIKED_PORTS
    return Plan(
        kafka_port=choose_port(kafka_port, last.kafka_port if last else usual.get("kafka"), taken, "Kafka"),
        controller_port=choose_port(
            None, last.controller_port if last else None, taken, "Kafka's controller"
        ),
        elasticsearch_port=choose_port(
            search_port,
            last.elasticsearch_port if last else usual.get("elasticsearch"),
            taken,
            "Elasticsearch",
        ),
        owner=owner,
        quick=quick,
    )

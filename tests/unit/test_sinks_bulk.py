"""What an Elasticsearch in trouble answers, from a small HTTP server: a healthy one cannot be made to say it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson
import pytest

from runtime.settings import Settings
from sinks.base import Message, RetryLater, Verdict
from sinks.elasticsearch.bulk import ElasticsearchDestination, destination
from tests.events import sample

Reply = tuple[int, dict[str, Any]]


class Cluster(NamedTuple):
    """A server whose bulk answers are `bulk`'s; `templates` are those it was given."""

    url: str
    bulk: list[Callable[[list[bytes]], Reply]]
    asked: list[str]
    headers: list[dict[str, str]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    bulk: list[Callable[[list[bytes]], Reply]] = []
    asked: list[str] = []
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet an answer: two would wait for each other's acknowledgement.
        wbufsize = 65_536

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append(f"{self.command} {self.path}")
            seen.append({name.lower(): value for name, value in self.headers.items()})
            status, reply = 200, {"template": {"mappings": {}}}
            if self.path.startswith("/_bulk"):
                # Every second line is a document.
                status, reply = bulk[0](body.splitlines()[1::2])
            elif self.command == "GET":
                status = 404
            elif b"probe_flat_object" in body or b"probe_wildcard" in body:
                status = 400
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status == 429:
                self.send_header("retry-after", "7")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = answer  # noqa: N815 - the names http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield Cluster(f"http://127.0.0.1:{server.server_port}", bulk, asked, seen)
    server.shutdown()
    server.server_close()


def items(*statuses: int, **facts: object) -> Callable[[list[bytes]], Reply]:
    """Bulk answers with these statuses, the first for the first document."""

    def reply(documents: list[bytes]) -> Reply:
        assert len(documents) == len(statuses)
        error = {
            "type": "some_exception",
            "reason": "because",
            "caused_by": {"type": "deep", "reason": "down"},
        }
        return 200, {"items": [{"create": {"status": s, "error": error, **facts}} for s in statuses]}

    return reply


def deliver(cluster: Cluster, count: int) -> list[Any]:
    target = destination(Settings(elasticsearch={"urls": [cluster.url]}))
    try:
        return list(target.deliver(messages(count)))
    finally:
        target.close()


def messages(count: int) -> list[Message]:
    return [
        Message("t", 0, number, None, orjson.dumps(sample("dns", ordinal=number))) for number in range(count)
    ]


def test_only_a_documents_own_fault_is_rejected(cluster: Cluster) -> None:
    cluster.bulk.append(items(201, 409, 400, 429, 503, 500, 403, 404))
    results = deliver(cluster, 8)
    assert [result.verdict for result in results] == [
        Verdict.DELIVERED,
        Verdict.DUPLICATE,
        Verdict.REJECTED,
        *[Verdict.RETRY] * 5,
    ]
    assert results[2].reason == "some_exception"
    assert results[2].error == "some_exception: because (deep: down)"
    assert results[7].reason == "no_data_stream"


def test_document_in_the_failure_store_is_not_delivered(cluster: Cluster) -> None:
    cluster.bulk.append(items(201, failure_store="used"))
    [result] = deliver(cluster, 1)
    assert (result.verdict, result.reason) == (Verdict.REJECTED, "failure_store")


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503, 504])
def test_refusal_of_the_whole_request_is_tried_later(cluster: Cluster, status: int) -> None:
    cluster.bulk.append(lambda _: (status, {"error": {"type": "busy", "reason": "not now"}}))
    with pytest.raises(RetryLater, match="busy: not now") as later:
        deliver(cluster, 3)
    assert later.value.reason == f"http {status}"
    assert later.value.seconds == (7 if status == 429 else 0)


def test_request_too_large_is_halved_until_it_fits(cluster: Cluster) -> None:
    sizes = []

    def reply(documents: list[bytes]) -> Reply:
        sizes.append(len(documents))
        return items(*[201] * len(documents))(documents) if len(documents) <= 2 else (413, {})

    cluster.bulk.append(reply)
    assert [result.verdict for result in deliver(cluster, 8)] == [Verdict.DELIVERED] * 8
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_one_document_that_makes_the_server_refuse_the_request_takes_no_other_with_it(
    cluster: Cluster,
) -> None:
    poison = sample("dns", ordinal=5)["event"]["id"].encode()

    def reply(documents: list[bytes]) -> Reply:
        if any(poison in document for document in documents):
            return 400, {"error": {"type": "illegal_argument_exception", "reason": "cannot read"}}
        return items(*[201] * len(documents))(documents)

    cluster.bulk.append(reply)
    results = deliver(cluster, 8)
    assert [result.verdict for result in results].count(Verdict.DELIVERED) == 7
    assert (results[5].verdict, results[5].reason) == (Verdict.REJECTED, "refused")
    assert "cannot read" in results[5].error


def test_answer_that_is_not_of_a_bulk_request_decides_nothing(cluster: Cluster) -> None:
    cluster.bulk.append(lambda _: (200, {"hello": "from a proxy"}))
    with pytest.raises(RetryLater, match="0 results for 3 documents"):
        deliver(cluster, 3)


def test_data_stream_that_is_gone_makes_the_templates_be_looked_at_again(cluster: Cluster) -> None:
    cluster.bulk.append(items(404))
    target = ElasticsearchDestination(Settings(elasticsearch={"urls": [cluster.url]}))
    target.deliver(messages(1))
    before = len(cluster.asked)
    target.deliver(messages(1))
    assert any(path.startswith("PUT /_index_template") for path in cluster.asked[before:])
    before = len(cluster.asked)
    cluster.bulk[0] = items(201)
    target.deliver(messages(1))
    target.deliver(messages(1))
    assert cluster.asked[-1].startswith("POST /_bulk")
    assert sum(path.startswith("PUT") for path in cluster.asked[before:]) > 0
    assert not cluster.asked[-2].startswith("PUT")
    target.close()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"api_key": "abc"}, "ApiKey abc"),
        ({"username": "flight", "password": "p:w"}, "Basic ZmxpZ2h0OnA6dw=="),
        ({}, None),
    ],
)
def test_credentials_are_sent_as_elasticsearch_wants_them(
    cluster: Cluster, given: dict[str, str], sent: str | None
) -> None:
    cluster.bulk.append(items(201))
    target = destination(Settings(elasticsearch={"urls": [cluster.url], **given}))
    target.deliver(messages(1))
    target.close()
    assert {headers.get("authorization") for headers in cluster.headers} == {sent}
    assert cluster.headers[-1]["content-type"] == "application/x-ndjson"

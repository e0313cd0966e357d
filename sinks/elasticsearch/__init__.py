"""Elasticsearch and OpenSearch: data streams, bulk create with `event.id` as `_id`."""

from sinks.elasticsearch.bulk import destination

__all__ = ["destination"]

"""What the broker is asked for when topics are created."""

from typing import Any

import pytest

from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec


class PretendedClient:
    """Has no topics, creates all, and remembers how."""

    def __init__(self) -> None:
        self.created: dict[str, Any] = {}

    def list_topics(self) -> list[str]:
        return []

    def create_topics(self, wanted: dict[str, Any], *, raise_errors: bool) -> dict[str, Any]:
        assert not raise_errors
        self.created |= wanted
        return {"topics": [{"name": name, "error_code": 0} for name in wanted]}

    def wait_for_topics(self, names: list[str], *, timeout_ms: int) -> None:
        pass


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_all_replicas_but_one_must_have_a_record(monkeypatch: pytest.MonkeyPatch, replicas: int, in_sync: str):
    """Whatever the broker would ask for by itself; a topic's own settings are kept beside that."""
    client = PretendedClient()
    monkeypatch.setattr("headrace.adapters.kafka.admin.KafkaAdminClient", lambda **_: client)
    monkeypatch.setattr("headrace.adapters.kafka.admin._somebody_listens", lambda *_: True)
    admin = KafkaAdmin("broker:9092")
    assert admin.create([TopicSpec("t", 4, {"retention.ms": "7"})], replication_factor=replicas) == ["t"]
    assert client.created == {
        "t": {
            "num_partitions": 4,
            "replication_factor": replicas,
            "configs": {"retention.ms": "7", "min.insync.replicas": in_sync},
        }
    }

"""What a store's troubles are called."""

import pytest
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ResponseError

from headrace.adapters.object_store import _blocking, _written
from headrace.core.events import Stop

POOL = HTTPConnectionPool("store", 9000)


def failing(reason):
    def call():
        raise MaxRetryError(POOL, "/bucket/key", reason)

    return call


def test_a_store_that_answers_with_errors_may_be_full():
    """It does answer, so its address is right; where a disk is full nothing else says so."""
    with pytest.raises(Stop) as stop:
        _blocking("put", "shards/a", failing(ResponseError("too many 500 error responses")))
    assert str(stop.value).startswith(
        "object store: put shards/a: store:9000 answers too many 500 error responses: its disk may be full"
    )
    assert "HEADRACE_S3_ENDPOINT" not in str(stop.value)


def test_a_store_that_does_not_answer_may_be_elsewhere():
    """Then the setting is named, and no disk."""
    with pytest.raises(Stop, match=r"store:9000 does not answer.* is HEADRACE_S3_ENDPOINT right") as stop:
        _blocking("put", "shards/a", failing(ConnectTimeoutError("timed out")))
    assert "disk" not in str(stop.value)


class Answer:
    """A response to a conditional write."""

    def __init__(self, status, body=b"InternalError"):
        self.status, self.content, self.body = status, self, body

    async def read(self, _):
        return self.body


async def test_only_the_store_says_that_nothing_matches():
    """A bucket that is gone, or a proxy without a store behind it, says 404 too: then nothing was kept, and nothing was there."""
    nothing = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
    assert await _written(Answer(404, nothing), "refs/a") is False  # type: ignore[arg-type]
    for body in (b"<Error><Code>NoSuchBucket</Code></Error>", b"default backend - 404", b""):
        with pytest.raises(Stop, match="put refs/a: HTTP 404"):
            await _written(Answer(404, body), "refs/a")  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "may_be_full"), [(500, True), (507, True), (403, False), (404, False)])
async def test_a_conditional_write_says_so_too(status, may_be_full):
    """Those that a store refuses for other reasons say which."""
    with pytest.raises(Stop, match=f"put refs/a: HTTP {status}: InternalError") as stop:
        await _written(Answer(status), "refs/a")  # type: ignore[arg-type]
    assert ("disk may be full" in str(stop.value)) == may_be_full

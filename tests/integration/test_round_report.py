"""A round's report from a real object store."""

from uuid import uuid4

import pytest

from headrace.adapters.object_store import open_object_store
from headrace.adapters.rounds.report.storing import store_report
from tests.fakes.round_reports import a_round, earlier


@pytest.mark.connected
async def test_a_real_store_gives_the_same_page(s3, tmp_path):
    """What is read in ranges from a real store makes the page that the same objects in memory make, byte for byte."""
    fake, state = await a_round(600, rewrites=90)
    objects = dict(fake.objects)
    key = await store_report(fake, state, earlier(state))
    settings = s3.model_copy(update={"bucket": f"reports-{uuid4().hex[:12]}"})
    async with open_object_store(settings) as store:
        for name, body in objects.items():
            await store.put(name, body)
        assert await store_report(store, state, earlier(state), folder=tmp_path) == key
        assert (await store.get(key, bytes_max=2**24)).body == fake.objects[key]
    assert not list(tmp_path.iterdir())

"""The stores that a contract must hold on: in memory, SeaweedFS always, MinIO where its binary is found (`make minio`)."""

from collections.abc import Iterator

import pytest

from headrace.adapters.object_store import ObjectStoreSettings
from headrace.local import object_store as local
from headrace.local.minio import find_minio
from headrace.local.running import running

_NO_MINIO = pytest.mark.skipif(find_minio() is None, reason="no minio binary: `make minio` builds one")
STORES = [
    pytest.param("fake"),
    pytest.param("seaweedfs", marks=pytest.mark.connected),
    pytest.param("minio", marks=[pytest.mark.connected, _NO_MINIO]),
]


@pytest.fixture(scope="session", params=STORES)
def store_settings(request, tmp_path_factory) -> Iterator[ObjectStoreSettings | None]:
    """Where the store is; None for the one in memory."""
    if request.param == "fake":
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(local.CHOICE, request.param)
        with running(local.ObjectStore(), tmp_path_factory.mktemp(request.param)) as launch:
            for name, value in launch.tells.items():
                patch.setenv(name, value)
            yield ObjectStoreSettings(bucket="headrace-test", attempts_max=1)

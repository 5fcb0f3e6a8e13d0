"""When a server counts as serving."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.local.probes import seaweedfs_serves

REGISTERED = json.dumps({"Topology": {"Max": 245, "Free": 240}})


@pytest.mark.parametrize(
    ("health", "status", "why"),
    [
        (200, REGISTERED, ""),
        (503, REGISTERED, "healthz answered 503"),
        (200, json.dumps({"Topology": {"Max": 0, "DataCenters": None}}), "no volume server"),
        (200, "{}", "tells nothing of volumes"),
        (200, "not JSON", "tells nothing of volumes"),
    ],
)
async def test_seaweedfs_serves_once_its_volumes_are_known(health: int, status: str, why: str) -> None:
    """Its S3 server alone answers before it can read what is there."""
    routes = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=health) if request.path == "/healthz" else web.Response(text=status)

    routes.router.add_get("/{path:.*}", answer)
    async with TestServer(routes) as server:
        address = f"{server.host}:{server.port}"
        if why:
            with pytest.raises(OSError, match=why):
                await seaweedfs_serves(address, address)
        else:
            await seaweedfs_serves(address, address)

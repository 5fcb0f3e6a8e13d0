"""Gateways for these tests; all are stopped at the end."""

import contextlib
from functools import partial

import pytest

from tests.fakes.gateway import started


@pytest.fixture
async def open_gateway():
    """Starts gateways, given their settings."""
    async with contextlib.AsyncExitStack() as stack:
        yield partial(started, stack)


@pytest.fixture
async def gateway(open_gateway):
    """A gateway as it is by default."""
    return await open_gateway()

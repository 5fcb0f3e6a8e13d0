"""Ways to ask a process whether it can serve. Each returns when it can and raises OSError when it cannot (yet)."""

import asyncio
import json

import aiohttp

PROBE_S = 2.0
"""Longest wait for an answer; a server that takes longer is not healthy."""


async def http_answers(url: str) -> None:
    """A GET of the address ends in a status below 400."""
    await _answer_of(url)


async def seaweedfs_serves(s3: str, master: str) -> None:
    """Its S3 server is up, and its volume server has told the master of itself.

    Without the second, for some four seconds of one start in six, each read of what is there fails.
    """
    await http_answers(f"http://{s3}/healthz")
    url = f"http://{master}/dir/status"
    try:
        volumes_max = json.loads(await _answer_of(url))["Topology"]["Max"]
    except (ValueError, LookupError, TypeError) as error:
        raise ConnectionError(f"{url} tells nothing of volumes: {error!r}") from error
    if not volumes_max:
        raise ConnectionError(f"no volume server has told {master} of itself")


async def _answer_of(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            status, body = response.status, await response.read()
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{url}: {error}") from error
    if status >= 400:  # noqa: PLR2004  # HTTP's own boundary
        raise ConnectionError(f"{url} answered {status}")
    return body


async def port_answers(host: str, port: str) -> None:
    """Something accepts connections there."""
    async with asyncio.timeout(PROBE_S):
        _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await writer.wait_closed()


async def kafka_answers(bootstrap: str, brokers: int) -> None:
    """The broker at this address names at least so many live brokers."""
    from aiokafka.client import AIOKafkaClient  # noqa: PLC0415  # slow to import, and only a stack with Kafka needs it
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    await port_answers(*bootstrap.rsplit(":", 1))  # the client logs an error for every refused connection
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=int(PROBE_S * 1000))
    try:
        await client.bootstrap()
        alive = len(client.cluster.brokers())
    except KafkaError as error:
        raise ConnectionError(f"{bootstrap}: {error}") from error
    finally:
        await client.close()
    if alive < brokers:
        raise ConnectionError(f"{alive} of {brokers} brokers are up")

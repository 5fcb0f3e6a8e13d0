"""A cluster of three brokers bears the loss of one: what the fault suite's `make test-cluster` stands on."""

import asyncio
import signal
from contextlib import ExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.local.kafka import kafka_cluster
from headrace.local.launch import Place, signal_group, spawn, stop_group

pytestmark = [pytest.mark.connected, pytest.mark.slow, pytest.mark.timeout(300)]

TOPIC = "headrace.test"


async def _serves(launch):
    while True:
        try:
            return await launch.probe()
        except OSError:
            await asyncio.sleep(0.2)


async def _produce(bootstrap, name, values):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name, acks="all")
    await producer.start()
    try:
        async with producer.transaction():
            for value in values:
                await producer.send_and_wait(TOPIC, value)
    finally:
        await producer.stop()


async def _read(bootstrap, count):
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_transactions_go_on_while_one_broker_of_three_is_gone(tmp_path):
    """Each broker is killed and comes back; everything committed before, meanwhile and after is read."""
    with ExitStack() as stack:
        launches, processes = [], []
        for part in kafka_cluster(3, set()):
            launch = part.prepare(Place(tmp_path / part.name, tmp_path / f"{part.name}.log", {}), lambda _: None)
            process = spawn(launch)
            stack.callback(stop_group, process, launch)
            launches.append(launch)
            processes.append(process)
        await asyncio.gather(*(_serves(launch) for launch in launches))
        assert launches[0].tells["HEADRACE_REPLICATION_FACTOR"] == "3"
        bootstrap = launches[0].tells["HEADRACE_KAFKA"]
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, 1, 3)])
        await admin.close()

        committed = []
        for index in range(3):
            signal_group(processes[index].pid, signal.SIGKILL)
            processes[index].wait()
            values = [f"{index}-{n}".encode() for n in range(10)]
            await _produce(bootstrap, f"p{index}", values)
            committed += values
            processes[index] = spawn(launches[index])
            stack.callback(stop_group, processes[index], launches[index])
            await _serves(launches[index])
        assert await asyncio.wait_for(_read(bootstrap, len(committed)), 30) == committed

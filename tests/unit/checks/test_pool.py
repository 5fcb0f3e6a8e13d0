"""The worker pool: what is lost is replaced, what runs away is killed, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from headrace.checks import LimitReached, PoolLimits, WorkerLost, WorkerPool, WorkersGone, _child, _pool

ONE = PoolLimits(workers=1, restart_s=0.05)


def pool(limits: PoolLimits = ONE) -> WorkerPool:
    return WorkerPool(limits, ("schema",))


SCHEMA = {"schema": {"type": "integer"}, "own_schema": "", "response": "1", "depth_max": 64}
SLOW_SCHEMA = {**SCHEMA, "schema": {"pattern": "^(a+)+$"}, "response": '"' + "a" * 60 + '!"'}


def children() -> list[psutil.Process]:
    """Worker processes: those that import, and the forks that work."""
    return [p for p in psutil.Process().children(recursive=True) if "headrace.checks._child" in " ".join(p.cmdline())]


async def fork_of(importer: psutil.Process) -> psutil.Process:
    """The process that works for the one that imported."""
    await eventually(importer.children)
    return importer.children()[0]


async def at_work() -> psutil.Process:
    """The fork, once it is busy."""
    [importer, *_] = children()
    fork = await fork_of(importer)
    await eventually(lambda: fork.cpu_times().user > 0.05)
    return fork


async def eventually(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - other processes tell nobody
            await asyncio.sleep(0.01)


async def test_work_beyond_its_time_is_killed_and_the_next_is_served():
    """The limit is of processor time, names itself, and costs the pool a fork, not a start."""
    async with pool() as workers:
        [importer, *_] = children()
        fork = await fork_of(importer)
        began = time.monotonic()
        with pytest.raises(LimitReached, match=r"more than 0\.2 s of processor time"):
            await workers.run("schema", SLOW_SCHEMA, 0.2)
        assert time.monotonic() - began < 5
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"
        assert children()[0] == importer
        assert await fork_of(importer) != fork


async def test_killed_fork_loses_its_job_alone():
    """A worker that someone else kills is no verdict on the work."""
    async with pool() as workers:
        job = asyncio.create_task(workers.run("schema", SLOW_SCHEMA, 5))
        (await at_work()).kill()
        with pytest.raises(WorkerLost, match="ended with status -9"):
            await job
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"


async def test_killed_worker_is_started_again():
    """Jobs that wait meanwhile are done by its successor."""
    async with pool() as workers:
        job = asyncio.create_task(workers.run("schema", SLOW_SCHEMA, 5))
        waiting = asyncio.create_task(workers.run("schema", SCHEMA, 1))
        await at_work()
        os.killpg(children()[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await job
        assert (await waiting)["outcome"] == "passed"


async def test_stalled_worker_is_killed():
    """A worker that gets no processor time at all does not hold its job for ever."""
    async with pool(PoolLimits(workers=1, stall_s_max=0.2, restart_s=0.05)) as workers:
        [importer, *_] = children()
        (await fork_of(importer)).suspend()
        with pytest.raises(WorkerLost, match=r"said nothing for 0\.3 s"):
            await workers.run("schema", SCHEMA, 0.1)
        assert (await workers.run("schema", SCHEMA, 5))["outcome"] == "passed"


async def test_worker_is_recycled_after_its_share_of_jobs():
    """No job notices."""
    async with pool(PoolLimits(workers=1, jobs_max=3)) as workers:
        [importer, *_] = children()
        forks: set[int] = set()
        for _ in range(10):
            assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"
            forks.update(fork.pid for fork in importer.children())
        assert len(forks) >= 3


async def test_reply_beyond_the_limit_ends_the_worker(monkeypatch):
    """A worker cannot fill our memory."""
    monkeypatch.setattr(_pool, "_REPLY_BYTES_MAX", 48)
    async with pool() as workers:
        with pytest.raises(WorkerLost, match="said too much"):
            await workers.run("schema", SCHEMA, 1)


async def test_task_that_fails_says_so_and_harms_nobody():
    """An error of ours is told, not taken for a verdict."""
    async with pool() as workers:
        with pytest.raises(WorkerLost, match="the worker failed: KeyError: 'response'"):
            await workers.run("schema", {}, 1)
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"


async def test_work_beyond_its_memory_is_not_done():
    """The address space of a worker is bounded: here to enough for taking the job, but not for doing it."""
    async with pool() as workers:
        [importer, *_] = children()
        fork = await fork_of(importer)
        fork.rlimit(psutil.RLIMIT_AS, (fork.memory_info().vms + 70_000_000, ONE.memory_bytes_max))
        with pytest.raises(LimitReached, match="more memory than the 1024 MiB of a worker"):
            await workers.run("schema", {**SCHEMA, "response": '"' + "x" * 20_000_000 + '"'}, 2)
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"


async def test_worker_that_cannot_start_is_told():
    """A missing library is named with what to install, whoever waits is turned away, and readiness says why."""
    async with WorkerPool(PoolLimits(workers=1, restart_s=0.01), ("no_such",)) as workers:
        with pytest.raises(WorkersGone, match=r"_no_such_task is missing: install headrace\[validation\]"):
            await workers.run("no_such", {}, 1)
        with pytest.raises(WorkersGone):
            await workers.ping()


async def test_closing_the_pool_leaves_nothing_behind():
    """Jobs at work and jobs in line are turned away, and no process outlives the pool."""
    async with pool() as workers:
        jobs = [asyncio.create_task(workers.run("schema", SLOW_SCHEMA, 5)) for _ in range(3)]
        await at_work()
    assert children() == []
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert all(isinstance(result, WorkersGone) for result in results)


async def test_abandoned_job_does_not_hold_up_the_next():
    """When nobody waits for a reply any more, the work ends at once, and its reply is nobody else's."""
    async with pool() as workers:
        job = asyncio.create_task(workers.run("schema", SLOW_SCHEMA, 60))
        fork = await at_work()
        job.cancel()
        async with asyncio.timeout(20):
            assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "passed"
        await eventually(lambda: not fork.is_running())


async def test_worker_knows_nothing_of_our_environment(monkeypatch):
    """Secrets of the service are not where untrusted text is read."""
    monkeypatch.setenv("HEADRACE_S3_SECRET_KEY", "secret")
    async with pool():
        assert all("HEADRACE_S3_SECRET_KEY" not in child.environ() for child in children())


def test_worker_may_not_start_programs_or_open_sockets():
    """What a parser of text never does is refused."""
    for event in ("socket.__new__", "subprocess.Popen", "os.system", "os.exec", "os.fork"):
        with pytest.raises(PermissionError):
            _child._deny(event, ())
    _child._deny("open", ("x", "r", 0))


def test_workers_end_with_their_service():
    """A service that is killed leaves no worker running."""
    program = (
        "import asyncio\nfrom headrace.checks import PoolLimits, WorkerPool\n"
        "async def main():\n"
        "    async with WorkerPool(PoolLimits(workers=1), ('schema',)):\n"
        "        print('up', flush=True)\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env={"PYTHONPATH": "libs"}) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == b"up\n"
        left = psutil.Process(service.pid).children(recursive=True)
        assert left
        service.kill()
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive


async def test_a_pool_that_is_stopped_while_it_starts_leaves_nothing_behind():
    """A service told to stop while its workers still import ends without a word, and without them."""
    before = asyncio.all_tasks()
    opening = asyncio.create_task(pool().__aenter__())
    await eventually(children)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert asyncio.all_tasks() == before
    await eventually(lambda: not children())


async def test_an_idle_fork_that_is_killed_costs_no_job_and_mixes_up_no_verdicts():
    """What is said of a fork that died with nothing to do is nobody's answer, and each job gets its own verdict."""
    async with pool() as workers:
        [importer, *_] = children()
        for response, outcome in (("1", "passed"), ("x", "failed"), ("2", "passed")):
            (await fork_of(importer)).kill()
            assert (await workers.run("schema", {**SCHEMA, "response": response}, 1))["outcome"] == outcome


CONFUSED = """#!{python}
import sys
print('{{"job": 0, "ready": true}}', flush=True)
while number := sys.stdin.readline():
    sys.stdin.readline()
    print('{{"job": 1, "reply": {{"outcome": "of job 1"}}}}' if number == "1\\n" else '{said}', flush=True)
"""


@pytest.mark.parametrize("said", ['{"job": 1, "reply": {"outcome": "of job 1"}}', '{"job": -1, "died": -9}'])
async def test_what_is_said_of_another_job_is_never_a_verdict(tmp_path, monkeypatch, said):
    """A worker that speaks of another job, or of one that was lost while it was taken, is replaced; the job may come again."""
    program = tmp_path / "confused"
    program.write_text(CONFUSED.format(python=sys.executable, said=said))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    async with asyncio.timeout(20), pool() as workers:
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "of job 1"
        with pytest.raises(WorkerLost, match="spoke of another job than 2"):
            await workers.run("schema", SCHEMA, 1)
        assert (await workers.run("schema", SCHEMA, 1))["outcome"] == "of job 1"

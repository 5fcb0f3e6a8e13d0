"""`headrace dataset gc`: delete what no version refers to, and forget retracted samples."""

import asyncio
import json
import re
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson
from headrace.cli.version_reading import open_versions

if TYPE_CHECKING:  # Arrow and the Kafka client cost most of a second that `headrace --help` need not pay
    from headrace.adapters.versions.forgetting import Forgotten
    from headrace.adapters.versions.gc import Elsewhere, Found, Keeping
    from headrace.adapters.versions.store import VersionStore
    from headrace.core.ports.object_store import ObjectStore

app = typer.Typer()

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TOLD_EVERY = 100
_DURATION = re.compile(r"(\d{1,6})([smhd])")

KAFKA_STILL_HOLDS = (
    "Kafka still holds the sample's records: topics between services for 7 days, dead letters for 90 days, and "
    "headrace.accepted.{dataset} for ever, unless the retention of your topics says otherwise. Delete records there with Kafka's "
    "own kafka-delete-records. Vectors in the index went with the retraction; checkpoints trained on the sample are not touched."
)

RoundsFor = Annotated[
    str, typer.Option(help="Keep what a round left behind, and the weights it judged by, for so long after its end.")
]
KeepCheckpoints = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Also weights of checkpoints that nobody needs: of each model keep so many that were published last, and as many to "
        "roll back to. Reads Kafka.",
    ),
]


@app.command()
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")] = False,
    grace: Annotated[
        str,
        typer.Option(
            help="Delete nothing younger than this by the store's clock, 1h at least: from its first shard to its end a cut must "
            "not take longer."
        ),
    ] = "24h",
    while_idle: Annotated[
        bool,
        typer.Option("--while-idle", help="Nothing writes meanwhile, neither services nor producers: allows a --grace below 1h."),
    ] = False,
    keep_last: Annotated[
        int | None, typer.Option(min=1, help="Prune: keep so many versions of each dataset, and those that a tag names.")
    ] = None,
    keep_for: Annotated[str, typer.Option(help="Prune: keep versions younger than this, as 90d, and tagged ones.")] = "",
    claims: Annotated[
        bool, typer.Option(help="Also large bodies that no record refers to any more; reads all that Kafka retains.")
    ] = True,
    rounds: Annotated[
        bool,
        typer.Option(help="Also what rounds left behind that have ended, but for their reports; reads their states in Kafka."),
    ] = True,
    rounds_for: RoundsFor = "30d",
    keep_checkpoints: KeepCheckpoints = None,
    forget: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="DATASET SAMPLE", help="Remove a retracted sample's bytes from old versions, and nothing else."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing refers to: shards, manifests and staged rows that no branch or tag leads to, large bodies, scratch.

    Also the signal tables and all else of rounds that ended long ago (--rounds-for); reports stay, and so does everything of a
    round that runs or is frozen. Files that a trainer had stored before it died, and that no checkpoint names, go too.

    Checkpoints are kept unless --keep-checkpoints says how many; then the weights of others go, and what they were trained on,
    the list of samples they have seen and their place in `headrace checkpoint ls` stay. Never those of what measures, what waits
    for its roll-out, the models of rounds (--rounds-for, and each dataset's latest), models whose embeddings a dataset's latest
    or tagged version has, and checkpoints that were trained on a tagged version: tag that version to keep one for good. A
    rollback to one that has gone is refused and says so. Do not roll back meanwhile.

    Every version of every dataset is kept unless --keep-last or --keep-for prunes old ones. Services may go on working. Versions
    that only checkpoints name are pruned too: of such a checkpoint `headrace checkpoint samples` says that its version was
    pruned. Tag what must stay (`headrace dataset tag`).

    With --forget a retracted sample leaves old versions too. Their ids stay; each changed shard has a record that names what
    stands in for it, so that readers and `headrace dataset verify` report a stated gap instead of damage.
    """
    if forget is not None:
        _forget(*forget, as_json=as_json)
        return
    keeping = _keeping(grace, keep_last, keep_for, rounds_for)
    if not (dry_run or while_idle):
        _require_grace(keeping)
    looked_up = _LookedUp(claims=claims, rounds=rounds, checkpoints=keep_checkpoints)
    asyncio.run(_collect(keeping, looked_up, dry_run=dry_run, as_json=as_json))


def _keeping(grace: str, last: int | None, keep_for: str, rounds_for: str) -> "Keeping":
    from headrace.adapters.versions.gc import Keeping  # noqa: PLC0415

    keep_for_s = _seconds(keep_for, "--keep-for") if keep_for else None
    return Keeping(_seconds(grace, "--grace"), last, keep_for_s, _seconds(rounds_for, "--rounds-for"))


def _require_grace(keeping: "Keeping") -> None:
    from headrace.adapters.versions.gc import GRACE_S_MIN  # noqa: PLC0415

    if keeping.grace_s < GRACE_S_MIN:
        raise CannotDo(
            f"--grace below {GRACE_S_MIN / _UNITS_S['h']:g}h could delete what a cut has just written and nothing refers to yet: "
            "give more, or stop whatever writes and say --while-idle"
        )


async def _collect(keeping: "Keeping", looked_up: "_LookedUp", *, dry_run: bool, as_json: bool) -> None:
    from headrace.adapters.versions.gc import GarbageCollector  # noqa: PLC0415
    from headrace.adapters.versions.sweeps import SweepRunning, SweepTooLong  # noqa: PLC0415

    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    console = Console(stderr=True)
    async with open_versions() as versions:
        with console.status("reading what is needed") as status:

            def tell(read: int) -> None:
                if read % _TOLD_EVERY == 0:
                    status.update(f"{read:,} versions read")

            used = await looked_up.elsewhere(versions, keeping)
            collector = GarbageCollector(versions.objects, keeping, tell=tell)
            try:
                async with aclosing(collector.find(used) if dry_run else collector.delete(used)) as garbage:
                    async for found in garbage:
                        counts[found.what.value] += 1
                        sizes[found.what.value] += found.entry.size_bytes
                        if dry_run:
                            status.stop()  # it would take what is listed for its own
                            _list(found, as_json=as_json)
            except (SweepRunning, SweepTooLong) as error:
                raise CannotDo(str(error)) from error
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "objects": dict(counts), "bytes": dict(sizes)}))
        return
    told = ", ".join(f"{counts[what]} {what}s, {sizes[what]:,} bytes" for what in counts) or "nothing"
    typer.echo(f"{'would delete' if dry_run else 'deleted'}: {told}")


@dataclass(frozen=True, slots=True)
class _LookedUp:
    """What is asked for elsewhere than in the store; `checkpoints` is how many to keep of each model, None for all of them."""

    claims: bool
    rounds: bool
    checkpoints: int | None

    async def elsewhere(self, versions: "VersionStore", keeping: "Keeping") -> "Elsewhere":
        from headrace.adapters.versions.gc import Elsewhere  # noqa: PLC0415
        from headrace.cli.checkpoint_reading import read_unneeded  # noqa: PLC0415

        return Elsewhere(
            await _claims_in_use(versions.objects) if self.claims else None,
            await _ended_rounds(versions.objects) if self.rounds else None,
            () if self.checkpoints is None else await read_unneeded(versions, self.checkpoints, keeping.rounds_for_s),
        )


async def _claims_in_use(objects: "ObjectStore") -> frozenset[bytes] | None:
    """None where there are no claims: nobody has to read Kafka's topics for nothing."""
    from headrace.adapters.kafka.claims_in_use import claims_in_use  # noqa: PLC0415
    from headrace.adapters.versions.gc import CLAIM_PREFIX  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    if await anext(objects.list(CLAIM_PREFIX), None) is None:
        return None
    settings = RuntimeSettings()
    return await claims_in_use(settings.kafka, start_s=settings.kafka_start_s)


async def _ended_rounds(objects: "ObjectStore") -> dict[str, float] | None:
    """None where no round left anything behind: nobody has to read their states for nothing."""
    from headrace.adapters.versions.gc import ended_rounds  # noqa: PLC0415
    from headrace.cli.round_reading import read_states  # noqa: PLC0415
    from headrace.core.rounds.stored import ROUNDS_PREFIX  # noqa: PLC0415

    if await anext(objects.list(ROUNDS_PREFIX), None) is None:
        return None
    return ended_rounds((await read_states()).known())


def _list(found: "Found", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"what": found.what.value, "key": found.entry.key, "bytes": found.entry.size_bytes}))
    else:
        typer.echo(f"{found.what.value:<12} {found.entry.size_bytes:>12,}  {found.entry.key}")


def _forget(dataset: str, sample: str, *, as_json: bool) -> None:
    from headrace.adapters.versions.forgetting import CannotForget, Forgetting  # noqa: PLC0415

    async def forgotten() -> "Forgotten":
        async with open_versions() as versions:
            return await Forgetting(versions, dataset, sample).forget()

    try:
        done = asyncio.run(forgotten())
    except CannotForget as error:
        raise CannotDo(str(error)) from error
    kafka = KAFKA_STILL_HOLDS.format(dataset=dataset)
    if as_json:
        said = {"dataset": dataset, "sample_id": sample, "versions": done.versions, "shards": done.shards, "rows": done.rows}
        typer.echo(json.dumps({**said, "segments": done.segments, "still_held": kafka}))
        return
    typer.echo(f"{done.rows} rows removed from {done.shards} shards of {done.versions} versions, {done.segments} staged segments")
    typer.echo("what crashed cuts left behind goes with `headrace dataset gc` after its grace period")
    typer.echo(kafka)


def _seconds(text: str, option: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise CannotDo(f"{option} {text[:40]!a}: a number and one of {', '.join(_UNITS_S)}, as in 24h")
    return float(int(match[1]) * _UNITS_S[match[2]])

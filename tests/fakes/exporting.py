"""A version with one of every kind of conversation, for tests of exports."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.adapters.exports.contents import Contents
from headrace.adapters.exports.export import ExportOptions, export_version
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Decision, Dossier
from headrace.core.exports import ExportFormat
from headrace.core.reasons import Reason
from headrace.core.samples import Message, Origin, OriginKind, ToolCall, content_hash_of
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore

TOOLS = '[{"type": "function", "function": {"name": "multiply", "parameters": {}}}]'
ASKED = Message("user", "What is 6 times 7?")
CALL = Message("assistant", "", tool_calls=(ToolCall("call-1", "multiply", '{"a": 6, "b": 7}'),))
REPLY = Message("tool", "42", tool_call_id="call-1", name="multiply")
ANSWER = Message("assistant", "42 ½ \u2028 \U0001f9ee")
CONVERSATIONS = {
    "plain": (ASKED, ANSWER),
    "several": (ASKED, ANSWER, Message("user", "and twice that?"), Message("assistant", "84")),
    "system": (Message("system", "Be brief."), ASKED, ANSWER),
    "tools": (ASKED, CALL, REPLY, ANSWER),
}


def decided(
    sample_id: str, messages: tuple[Message, ...], reason: Reason = Reason.ACCEPTED, detail: str = "", revision: int = 0,
    tools_json: str = "", parents: tuple[str, ...] = (),
) -> Dossier:  # fmt: skip
    """A decision on this conversation; refined where it has parents."""
    made = dossier(sample_id, revision, reason)
    origin = Origin(OriginKind.REFINED, parents) if parents else Origin()
    sample = replace(
        made.sample, messages=messages, tools_json=tools_json, reference=None, origin=origin,
        content_hash=content_hash_of(messages, tools_json, None),
    )  # fmt: skip
    decisions = (Decision(made.decisions[-1].verdict, reason, "p1", detail=detail),)
    return replace(made, sample=sample, decisions=decisions)


@dataclass
class Exporting:
    """Versions in an object store (in memory unless another is given), in small shards, and exports of them."""

    objects: Any = field(default_factory=FakeObjectStore)
    offset: int = 0

    @property
    def store(self) -> VersionStore:
        return VersionStore(self.objects)

    async def cut(self, *decisions: Dossier) -> None:
        limits = ShardLimits(shard_rows_max=8, group_rows_max=4)
        cutter = VersionCutter(self.objects, CutSettings(shards=limits, embeddings_wait_s=0))
        rows = [(each, place(self.offset + n)) for n, each in enumerate(decisions)]
        self.offset += len(rows)
        await cutter.staging.stage_decided(DATASET, DECIDED, rows)
        certain(await cutter.cut(DATASET, f"request-{self.offset}"))

    async def export(self, form: ExportFormat, folder: Path, **options) -> Contents:
        version = await self.store.version(DATASET)
        return await export_version(self.store, version, folder, ExportOptions(form, **options))

    @classmethod
    async def of_every_kind(cls) -> "Exporting":
        """Ten plain questions, the other conversations, and two rejected rows."""
        exporting = cls()
        plain = [decided(f"q{n}", (Message("user", f"What is {n} times 7?"), ANSWER)) for n in range(10)]
        rest = [decided(name, turns, tools_json=TOOLS if name == "tools" else "") for name, turns in CONVERSATIONS.items()]
        refused = [decided(f"r{n}", (ASKED, Message("assistant", f"wrong {n}")), Reason.LOSS_TOO_HIGH) for n in range(2)]
        await exporting.cut(*plain, *rest, *refused)
        return exporting

"""The live view of the spine: rates, queues, decisions and reasons."""

import asyncio
import time
from collections import deque

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table

from headrace.adapters.kafka.accounts import Accounts
from headrace.adapters.kafka.admin import Gap, KafkaAdmin, consumer_groups
from headrace.core.ledger import Account

_RATE_WINDOW_S = 10.0


class LiveView:
    """What `headrace watch` shows; `refresh` asks Kafka, `render` draws what is known."""

    def __init__(self, accounts: Accounts, admin: KafkaAdmin, dataset: str | None = None) -> None:
        self._accounts = accounts
        self._admin = admin
        self._dataset = dataset
        self._gaps: list[Gap] = []
        self._history: deque[tuple[float, Account]] = deque()
        self.account = Account()

    async def refresh(self) -> Account:
        """Reads what was written since the last call and how far every hop is behind."""
        ledger = await self._accounts.catch_up()
        self._gaps = await asyncio.to_thread(self._admin.gaps, consumer_groups())
        self.account = ledger.account(self._dataset)
        now = time.monotonic()
        self._history.append((now, self.account))
        while now - self._history[0][0] > _RATE_WINDOW_S:
            self._history.popleft()
        return self.account

    def render(self) -> RenderableType:
        """The view as of the last refresh."""
        return Group(Columns([self._ends(), self._queues()], padding=(0, 4)))

    def _ends(self) -> Table:
        account, earlier, elapsed_s = self.account, self._history[0][1], max(self._elapsed_s(), 1e-9)
        table = Table("", "samples", "per second", box=None, pad_edge=False)
        rows: list[tuple[str, int, int]] = [
            ("submitted", account.submitted, earlier.submitted),
            ("[green]accepted[/green]", account.accepted, earlier.accepted),
            ("  retracted since", account.retracted, earlier.retracted),
            ("[yellow]rejected[/yellow]", account.rejected, earlier.rejected),
            ("[red]dead-lettered[/red]", account.dead_lettered, earlier.dead_lettered),
        ]
        for label, now, before in rows:
            table.add_row(label, str(now), f"{(now - before) / elapsed_s:.1f}" if self._elapsed_s() else "")
        table.add_row("in flight", str(account.in_flight), "")
        if account.decided_again:
            table.add_row("[red]decided more often than submitted[/red]", str(account.decided_again), "")
        if account.ended_unsubmitted:
            table.add_row("[red]ended, never seen submitted[/red]", str(account.ended_unsubmitted), "")
        for reason, count in account.reasons.items():
            table.add_row(f"  {reason}", str(count), "", style="dim")
        for service, count in account.dead_letters_by_service.items():
            table.add_row(f"  dead-lettered in {service}", str(count), "", style="dim")
        return table

    def behind(self) -> dict[str, int]:
        """How many records each reader is behind in each queue, as of the last refresh; "queue reader" names them."""
        return {f"{topic} {group}": count for (topic, group), count in self._behind().items()}

    def _queues(self) -> Table:
        table = Table("queue", "reader", "behind", box=None, pad_edge=False)
        for (topic, group), offsets in self._behind().items():
            table.add_row(topic, group, str(offsets) if offsets else "[dim]0[/dim]")
        return table

    def _behind(self) -> dict[tuple[str, str], int]:
        behind: dict[tuple[str, str], int] = {}
        for gap in self._gaps:
            if not gap.topic.endswith(".retry"):
                key = (gap.topic.removeprefix("headrace."), gap.group.split(".", maxsplit=1)[0])
                # A transaction's marker takes an offset: an idle partition stays one behind.
                behind[key] = behind.get(key, 0) + max(0, gap.offsets - 1)
        return behind

    def _elapsed_s(self) -> float:
        return self._history[-1][0] - self._history[0][0]

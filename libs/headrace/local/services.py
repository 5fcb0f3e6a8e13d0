"""The services, each as `headrace run NAME` in a process of its own."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.local.checkout import checkout
from headrace.local.launch import Launch, Place, Say
from headrace.local.ports import LOCALHOST
from headrace.local.probes import http_answers

_INDEX = "index"


@dataclass(frozen=True, slots=True)
class LocalService:
    """One service. It starts when the servers serve, since it is not ready before they are."""

    name: str
    needs: tuple[str, ...]

    @property
    def port_names(self) -> tuple[str, ...]:
        return ("health", "grpc", "http") if self.name == "gateway" else ("health",)

    def prepare(self, place: Place, say: Say) -> Launch:
        """The command of `headrace run`, told where the servers are."""
        del say  # nothing here takes a while
        place.folder.mkdir(parents=True, exist_ok=True)
        tells = self._tells(place)
        return Launch(
            command=(sys.executable, "-m", "headrace.cli.main", "run", self.name),
            folder=None,  # the user's, so that relative paths in settings mean what they say
            log=place.log,
            environment={
                "HEADRACE_HOST": LOCALHOST,
                "HEADRACE_INSTANCE": f"local-{self.name}",
                **place.environment,
                **tells,
                "HEADRACE_HEALTH_PORT": str(place.ports["health"]),
            },
            probe=partial(http_answers, f"http://{LOCALHOST}:{place.ports['health']}/readyz"),
            ready_s=120,
            stop_s=20,
            tells=tells,
        )

    def _tells(self, place: Place) -> dict[str, str]:
        if self.name == "gateway":
            return {f"HEADRACE_GATEWAY_{name.upper()}_PORT": str(place.ports[name]) for name in ("grpc", "http")}
        if self.name == "diversity":
            return {"HEADRACE_DIVERSITY_INDEX_PATH": str(place.folder / _INDEX)}
        return {}


def index_folder(home: Path) -> Path:
    """Where diversity keeps its index in this state folder, whether the stack is up or down."""
    return home / "diversity" / _INDEX


def service_names() -> tuple[str, ...]:
    """The services of the checkout: the folders under services/ that have an app.py."""
    return tuple(sorted(app.parent.name for app in (checkout() / "services").glob("*/app.py")))

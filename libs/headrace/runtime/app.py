"""Runs services: what every process of Headrace starts with."""

import logging
from dataclasses import dataclass, field

from headrace.runtime.delivery.observer import DeliveryObserver, NoObserver
from headrace.runtime.policies import PolicyBook
from headrace.runtime.settings import DeliverySettings, RuntimeSettings

_log = logging.getLogger("headrace.runtime")


@dataclass
class Runtime:
    """What a service's `open_service(runtime)` is given.

    `policies` is started once some service has asked for it, before the first record is handed out; a service that needs
    it while it opens awaits `policies.start()` itself. `telemetry` is told of every batch.
    """

    settings: RuntimeSettings
    delivery: DeliverySettings
    telemetry: DeliveryObserver = field(default_factory=NoObserver)
    _book: PolicyBook | None = None

    @property
    def policies(self) -> PolicyBook:
        """The standing policies, `policies.policy_of(dataset_id)`."""
        if self._book is None:
            self._book = PolicyBook(self.settings)
        return self._book

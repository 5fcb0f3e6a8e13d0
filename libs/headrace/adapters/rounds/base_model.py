"""Which second model a round measures with: the one that the policy names, else the first version of the model itself."""

from typing import Protocol

from headrace.core.policies import Policy
from headrace.core.ports.signal_model import SignalModel
from headrace.core.rounds.planning import has_first_as_base


class Models(Protocol):
    """What has to be asked of a model server; both raise Stop when it is gone."""

    async def named(self, name: str) -> SignalModel: ...
    async def has(self, name: str, version: str) -> bool: ...


async def base_of(policy: Policy, model: str, first_version: str, models: Models) -> tuple[str, str]:
    """Name and version of the base of a round that `model` measures, both empty for none.

    The first version of a model counts as its base only while the server has it loaded: without it the round has none.

    Raises:
        headrace.core.ports.signal_model.ModelMissing: the server does not have the model that the policy names.
        headrace.core.events.Stop: the server is gone.
    """
    named = policy.signals.base_model
    if named:
        return named, (await models.named(named)).version
    if has_first_as_base(policy) and await models.has(model, first_version):
        return model, first_version
    return "", ""

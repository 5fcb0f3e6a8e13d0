"""Whether the endpoints of roles can be asked at all: found out with one call of one token, before much depends on it."""

from collections.abc import Collection, Sequence

from headrace.adapters.chat.endpoint import ChatEndpoint, chat_session
from headrace.adapters.chat.kept import ChatEndpoints
from headrace.adapters.chat.settings import PREFIX, ChatSettings, endpoint_of
from headrace.core.events import Stop

_DEADLINE_S_MAX = 60.0
"""A person waits for the answer."""


class RoleChecks:
    """Checks the endpoint of each role that was asked for so far, once in the life of a process."""

    def __init__(self, endpoints: ChatEndpoints) -> None:
        self._endpoints = endpoints
        self._checked: set[ChatEndpoint] = set()

    async def __call__(self, roles: Sequence[str] = ()) -> None:
        """Return when no endpoint, those of `roles` included, says that the settings are wrong.

        What fails otherwise is left to the calls that follow.

        Raises:
            Stop: one does not serve us as its settings stand.
        """
        for role in roles:
            self._endpoints.of(role)
        for role, endpoint in list(self._endpoints.roles.items()):
            if endpoint not in self._checked:
                await endpoint.check(role)
                self._checked.add(endpoint)


async def hindrances_of(roles: Sequence[str], *, money_limited_in: Collection[str]) -> list[str]:
    """Why calls in these roles cannot succeed under the settings of this process, each naming role, address and setting.

    Those in which money is limited need prices.

    Raises:
        pydantic.ValidationError: a setting is out of its range.
    """
    async with chat_session() as session:
        endpoints = ChatEndpoints(session, _quickly)
        found = [_unpriced(role, endpoints.of(role).settings) for role in roles if role in money_limited_in]
        checked: set[ChatEndpoint] = set()
        for role in roles:
            endpoint = endpoints.of(role)
            if endpoint not in checked:
                checked.add(endpoint)
                found.append(await _hindrance(endpoint, role))
    return [why for why in found if why]


async def _hindrance(endpoint: ChatEndpoint, role: str) -> str:
    try:
        why = await endpoint.check(role)
    except Stop as stop:
        return str(stop)
    return why and f"{role}: {why}: see {PREFIX}{role.upper()}_URL or {PREFIX}URL"


def _unpriced(role: str, settings: ChatSettings) -> str:
    missing = [name for name in ("PROMPT_PRICE", "COMPLETION_PRICE") if getattr(settings, name.lower()) is None]
    named = " and ".join(f"{PREFIX}{role.upper()}_{name} or {PREFIX}{name}" for name in missing)
    return f"{role} at {settings.url}: money is limited, and nobody knows what a call costs: set {named}" if missing else ""


def _quickly(role: str) -> ChatSettings:
    settings = endpoint_of(role)
    return settings.model_copy(update={"deadline_s": min(settings.deadline_s, _DEADLINE_S_MAX)})

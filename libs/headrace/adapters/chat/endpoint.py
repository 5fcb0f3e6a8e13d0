"""One OpenAI-compatible endpoint: asked within its limits, tried again while that makes sense, never trusted."""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, replace

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from headrace.adapters.chat.back_off import back_off_s, retry_after_s
from headrace.adapters.chat.completion import Prices, outcome_of
from headrace.adapters.chat.settings import PREFIX, ChatSettings
from headrace.core.budgets import Spend
from headrace.core.chat import Call, Hindrance, NotMade, Outcome, Sampling, prompt_tokens_max, request_of
from headrace.core.dossiers import Cost
from headrace.core.events import Stop
from headrace.core.samples import Message

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_TOO_MANY = 429
_MAY_PASS = frozenset({408, 425})
_NOBODY_KNOWS = frozenset({408, 504, 524})
"""Something on the way gave up waiting: the model may have written its reply, and be paid for it."""
_FORBIDDEN = 403
_TO_MEND = {
    401: ("refuses our key", "API_KEY"),
    402: ("wants to be paid first", "API_KEY"),
    _FORBIDDEN: ("does not let us", "API_KEY"),
    404: ("has no such model, or no chat completions there", "MODEL"),
}
"""What the operator has to mend, and the setting that says most about it; no sample is at fault."""
_UNBOOKED_MAX = 1_000
_CHECK = Call("", (Message("user", "Say yes."),), Sampling(max_tokens=1))
_SHOWN_BYTES = 500
_KEEP_ALIVE_S = 30.0
_PING_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_JSON_TYPE = "application/json"
_HEADERS = {
    "Content-Type": _JSON_TYPE,
    "Accept": _JSON_TYPE,
    "Accept-Encoding": "identity",
    "User-Agent": "headrace",
}
"""Everything that aiohttp would add by itself: to find out what is missing costs it more, to be told to leave it out most."""
_MULTIPLE_CHOICES, _SERVER_ERROR = 300, 500


@dataclass(frozen=True, slots=True)
class _Failed:
    """One try that failed for a reason that may pass.

    `wait_s` is what the endpoint asks for. `crowded`: it only wants us to be slower; `silent`: nobody answered at all;
    `unanswered`: it was sent, and whether it was answered and has to be paid nobody knows.
    """

    why: str
    wait_s: float | None = None
    crowded: bool = False
    silent: bool = False
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class _Barred:
    """The endpoint's words, and whose fault it is: `call_alone` may be refused what others are not."""

    why: str
    call_alone: bool


@dataclass(slots=True)
class _Unanswered:
    """Tries of one call that were sent and not answered, and the seconds they took."""

    tries: int = 0
    seconds: float = 0.0


def chat_session() -> aiohttp.ClientSession:
    """A session for any number of endpoints; to be closed.

    Calls on their way are limited by endpoint. Nothing compressed is asked for and nothing is decompressed, since a bomb
    would not be seen; no endpoint's cookies are kept.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class ChatEndpoint:
    """Asks one endpoint, over a `chat_session`."""

    def __init__(self, settings: ChatSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._session = session
        self._url = URL(f"{settings.url}/chat/completions")
        self._timeout = aiohttp.ClientTimeout(total=settings.deadline_s)
        self._headers = CIMultiDict(_HEADERS)
        if key := settings.api_key.get_secret_value():
            self._headers["Authorization"] = f"Bearer {key}"
        self._prices = Prices(settings.prompt_price, settings.completion_price, settings.currency)
        self._in_flight = asyncio.Semaphore(settings.concurrency)
        self._turn_at = 0.0
        self._quiet_until = 0.0
        self._answered = 0
        self._barred_from: str | None = None
        self._unbooked: dict[str, _Unanswered] = {}

    def bounded(self, call: Call) -> Call:
        """The call within the endpoint's own limit of tokens."""
        limit = self.settings.tokens_max
        if call.sampling.max_tokens <= limit:
            return call
        return replace(call, sampling=replace(call.sampling, max_tokens=limit))

    def worst_of(self, call: Call) -> Spend:
        """The most that one try at a bounded call may cost."""
        prompt, completion = prompt_tokens_max(call), call.sampling.max_tokens
        return Spend(prompt + completion, self._prices.money(prompt, completion))

    async def ask(self, call: Call) -> Outcome:
        """One outcome of a bounded call. Its cost counts tries that were sent and not answered, each at its worst.

        Raises:
            Stop: the endpoint is gone, has us wait for too long, or does not serve us as the settings stand.
            ValueError: the call cannot be written as JSON.
        """
        body = self._body(call)
        answered_before, failures, failing_since = self._answered, 0, 0.0
        unanswered = self._unbooked.pop(_name_of(body), _Unanswered()) if self._unbooked else _Unanswered()
        while True:
            began = time.monotonic()
            tried = await self._try(body, call)
            if isinstance(tried, _Barred):
                tried = await self._barred(tried, call.role)
            if not isinstance(tried, _Failed):
                return self._with_unanswered(tried, call, unanswered) if unanswered.tries else tried
            failures += 1
            failing_since = failing_since or time.monotonic()
            if tried.unanswered:
                unanswered.tries += 1
                unanswered.seconds += time.monotonic() - began
                if call.unanswered_max is not None and unanswered.tries >= call.unanswered_max:
                    why = f"{tried.why}; {unanswered.tries} tries may have to be paid, and no further one can be"
                    return self._with_unanswered(NotMade(Hindrance.FAILED, why), call, unanswered)
            if self._is_given_up(tried, failures, time.monotonic() - failing_since):
                if tried.silent or tried.crowded or not (self._answered > answered_before or await self._is_there()):
                    self._remember(body, unanswered)
                    raise Stop(f"{self.settings.url} {tried.why}")
                failed = NotMade(Hindrance.FAILED, f"{failures} tries failed while the endpoint is there: {tried.why}")
                return self._with_unanswered(failed, call, unanswered) if unanswered.tries else failed
            await self._wait(tried, failures)

    async def check(self, role: str) -> str:
        """One call of one token in that role: why none can succeed as things stand; empty where it does.

        Raises:
            Stop: the endpoint does not serve us as the settings stand.
        """
        call = replace(_CHECK, role=role)
        tried = await self._try(self._body(call), call)
        if isinstance(tried, _Barred):
            self._barred_from = role
            raise Stop(tried.why)
        self._barred_from = None
        if isinstance(tried, _Failed):
            return f"{self.settings.url} {tried.why}"
        if isinstance(tried, NotMade) and tried.hindrance in {Hindrance.REFUSED, Hindrance.MALFORMED, Hindrance.TOO_LARGE}:
            return f"{self.settings.url} refuses a call of one token, or answers it with no chat completion: {tried.detail}"
        return ""

    async def ping(self) -> None:
        """Return when the endpoint answers anything but a failure of its own; once it did not serve us, when it does.

        Raises:
            aiohttp.ClientError, TimeoutError, Stop: it does not.
        """
        if self._barred_from is not None and (why := await self.check(self._barred_from)):
            raise aiohttp.ClientConnectionError(why)
        address = f"{self.settings.url}/models"
        async with self._session.get(address, headers=self._headers, timeout=_PING_TIMEOUT, allow_redirects=False) as response:
            if response.status >= _SERVER_ERROR:
                raise aiohttp.ClientConnectionError(f"{address} answers {response.status}")

    async def _barred(self, barred: _Barred, role: str) -> NotMade:
        """The refusal of this call alone, where the endpoint lets others through: some refuse texts that way."""
        if barred.call_alone and not await self.check(role):
            return NotMade(Hindrance.REFUSED, barred.why)
        self._barred_from = role
        raise Stop(barred.why)

    def _body(self, call: Call) -> bytes:
        request = request_of(call, self.settings.model)
        request[self.settings.tokens_field] = request.pop("max_tokens")
        return _JSON.encode(request).encode("utf-8", "replace")

    def _remember(self, body: bytes, unanswered: _Unanswered) -> None:
        """For when the call comes back: whoever stops books nothing."""
        if unanswered.tries and len(self._unbooked) < _UNBOOKED_MAX:
            self._unbooked[_name_of(body)] = unanswered

    def _with_unanswered(self, outcome: Outcome, call: Call, unanswered: _Unanswered) -> Outcome:
        """The outcome with what the tries before it may cost; what its own cost leaves unknown is taken at its worst, too."""
        worst = (prompt_tokens_max(call), call.sampling.max_tokens)
        own = outcome.cost or Cost(call.role, 0.0, 0, 0)
        prompt, completion = (
            unanswered.tries * most + (most if known is None else known)
            for most, known in zip(worst, (own.prompt_tokens, own.completion_tokens), strict=True)
        )
        money = self._prices.money(prompt, completion)
        seconds = (own.seconds or 0.0) + unanswered.seconds
        cost = Cost(call.role, seconds, prompt, completion, money, self._prices.currency if money is not None else "")
        return replace(outcome, cost=cost)

    async def _try(self, body: bytes, call: Call) -> Outcome | _Failed | _Barred:
        async with self._in_flight:
            if self._quiet_until or self.settings.calls_per_min:
                await self._my_turn()
            began = time.monotonic()
            try:
                async with self._session.post(
                    self._url,
                    data=aiohttp.BytesPayload(body, content_type=_JSON_TYPE),
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response:
                    if response.status >= _MULTIPLE_CHOICES:
                        return await self._refused(response, call.role)
                    content = await _read(response, self.settings.reply_bytes_max)
            except TimeoutError:
                return _Failed(f"did not answer within {self.settings.deadline_s:g} s", unanswered=True)
            except aiohttp.ClientConnectorError as error:
                return _Failed(f"cannot be reached: {error}", silent=True)
            except (aiohttp.ClientError, ValueError) as error:  # ValueError: headers that are no HTTP
                return _Failed(f"broke off: {error or type(error).__name__}", unanswered=True)
            self._answered += 1
            seconds = time.monotonic() - began
        if content is None:
            cost = Cost(call.role, seconds)
            return NotMade(Hindrance.TOO_LARGE, f"the answer is above {self.settings.reply_bytes_max} bytes", cost)
        return outcome_of(content, call, self._prices, seconds)

    async def _refused(self, response: aiohttp.ClientResponse, role: str) -> Outcome | _Failed | _Barred:
        """What a status other than success means."""
        status = response.status
        shown = await _beginning(response)
        if status in _TO_MEND:
            return _Barred(self._told_to_mend(status, shown, role), call_alone=status == _FORBIDDEN)
        if status == _TOO_MANY:
            asked = retry_after_s(response.headers.get("Retry-After"), time.time(), self.settings.retry_after_s_max)
            return _Failed(f"answers 429: {shown}", asked, crowded=True)
        if status >= _SERVER_ERROR or status in _MAY_PASS:
            asked = retry_after_s(response.headers.get("Retry-After"), time.time(), self.settings.retry_after_s_max)
            return _Failed(f"answers {status}: {shown}", asked, unanswered=status in _NOBODY_KNOWS)
        self._answered += 1
        return NotMade(Hindrance.REFUSED, f"{status}: {shown}")

    def _told_to_mend(self, status: int, shown: str, role: str) -> str:
        why, setting = _TO_MEND[status]
        named = " or ".join(f"{PREFIX}{prefix}{setting}" for prefix in (f"{role.upper()}_", ""))
        asked = f"{role} at {self.settings.url}, model {self.settings.model!r}"
        beside = f", and {PREFIX}URL (most end with /v1)" if setting == "MODEL" else ""
        return f"{asked}: it {why} ({status}: {shown}): see {named}{beside}"

    async def _my_turn(self) -> None:
        """Wait for the endpoint's quiet time to end and for this call's place in the minute."""
        if self.settings.calls_per_min:
            now = time.monotonic()
            at = max(now, self._turn_at)
            self._turn_at = at + 60.0 / self.settings.calls_per_min
            await asyncio.sleep(at - now)
        while (rest := self._quiet_until - time.monotonic()) > 0:  # noqa: ASYNC110  # a moment is waited for, and it may move
            await asyncio.sleep(rest)

    async def _wait(self, failed: _Failed, failures: int) -> None:
        """Outside the limit of calls on their way, so that others go on; a wait that the endpoint asks for holds for all."""
        own = back_off_s(failures, self.settings.retry_s_min, self.settings.retry_s_max)
        if failed.wait_s is not None:
            self._quiet_until = max(self._quiet_until, time.monotonic() + failed.wait_s)
            own = failed.wait_s
        await asyncio.sleep(own)

    def _is_given_up(self, failed: _Failed, failures: int, failing_s: float) -> bool:
        """After so many failures, or so long; a server that is being started again may refuse connections many times."""
        too_often = failures > self.settings.retries and not failed.silent
        return too_often or failing_s >= self.settings.gone_s_max

    async def _is_there(self) -> bool:
        """Whether the endpoint answers at all, so that the fault lies with the call."""
        try:
            await self.ping()
        except (aiohttp.ClientError, TimeoutError, Stop):
            return False
        return True


def _name_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes | None:
    """The whole body; None where it is longer than that."""
    if response.content_length is not None:
        return await response.read() if response.content_length <= bytes_max else None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The first bytes of an error's text."""
    return (await response.content.read(_SHOWN_BYTES)).decode("utf-8", "replace").strip() or response.reason or "no text"

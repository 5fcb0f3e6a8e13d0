"""A chat endpoint that mends samples as it was decided beforehand, and remembers who asked it what."""

import asyncio
import contextlib
import hashlib
import json
import re
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.fakes.chat_endpoint import StubEndpoint, completion
from tests.fakes.signal_model import pseudo_signals

_SHOWN = re.compile(r"^The prompt:\n\[(data-[0-9a-f]+)\]\n(.*?)\n\[/\1\]$", re.MULTILINE | re.DOTALL)
_TURNED_AWAY = "Why your attempt before was turned away"
_LEARNABLE = 0.6
"""A loss in nats per token that is below that of every sample found hard."""
_DELAY_S = 0.08


class Mender:
    """Same request, same answer, whatever model is asked for; `asked` counts requests by that model's name.

    Of eight prompts one is not rewritten at all, two are changed beyond recognition, a third is so at the first attempt alone,
    and four are mended. Answers are such that a model learns them easily. While `held` is set nobody is answered, while `willing`
    is set every prompt is mended, in its own way for each task.
    """

    def __init__(self) -> None:
        self.asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.held = threading.Event()
        self.willing = threading.Event()
        self.url = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator["Mender"]:
        """In a thread of its own, at `url`."""
        loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with StubEndpoint(self._answer).serving() as endpoint:
                self.url = endpoint.url
                ready.set()
                await over.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="mender")
        thread.start()
        assert ready.wait(30), "the endpoint does not serve"
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()

    async def _answer(self, request: dict[str, Any]) -> web.StreamResponse:
        model = request.pop("model")
        self.asked[model][json.dumps(request, sort_keys=True)] += 1
        await asyncio.sleep(_DELAY_S)
        while self.held.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(_DELAY_S)
        return web.json_response(completion(_written(request["messages"], is_willing=self.willing.is_set())))


def _written(turns: list[dict[str, str]], *, is_willing: bool) -> str:
    told = next(turn["content"] for turn in turns if turn["role"] == "user")
    if (shown := _SHOWN.search(told)) and is_willing:
        return _mended(shown[2], _mark(json.dumps(turns)))
    if shown:
        return _prompt(shown[2], is_second=_TURNED_AWAY in told)
    return _learnable(told)


def _prompt(prompt: str, *, is_second: bool) -> str:
    mark = _mark(f"{is_second} {prompt}")
    kind = zlib.crc32(prompt.encode()) % 8
    if kind == 0:
        return "There is nothing that I would change."
    if kind in {1, 2} or (kind == 3 and not is_second):
        return f"<new_prompt>Something else altogether: who wrote {mark}, when, and why?</new_prompt>"
    return _mended(prompt, mark)


def _mended(prompt: str, mark: str) -> str:
    return f"<new_prompt>{prompt} Say it plainly, as {mark} would.</new_prompt>"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _learnable(prompt: str) -> str:
    mark = _mark(prompt)
    answers = (f"Plainly put: {mark} says so, for {number} reasons." for number in range(200))
    return next(answer for answer in answers if _loss(prompt, answer) < _LEARNABLE)


def _loss(prompt: str, answer: str) -> float:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return pseudo_signals(json.dumps({"messages": turns}).encode()).loss_mean

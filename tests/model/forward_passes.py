"""Signals against bare forward passes over the same tokens, in the model's environment: see tests/bench/bench_signals.py."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from headrace.lm.conversations import Tokens
from headrace.lm.signals import Limits, SignalMeter

Row = tuple[torch.Tensor, torch.Tensor]
"""Token ids and the positions that predict a response token."""


def main() -> None:
    """Print one line per contender, the best of the rounds, in JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="a JSON list")
    parser.add_argument("--tokens", type=int, required=True, help="about so many tokens a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    limits = Limits()
    meter = SignalMeter.load(arguments.weights, dtype=arguments.dtype, limits=limits)
    sent, tokens = _taken(meter, json.loads(arguments.conversations.read_text()), arguments.tokens, limits.tokens_max)
    bare = AutoModelForCausalLM.from_pretrained(arguments.weights, dtype=meter._model.dtype).to(meter._device).eval()
    contenders: dict[str, Callable[[], object]] = {
        "signals": lambda: meter.measure(sent),
        "bare, each by itself": _passes(bare, meter, list(_alone(tokens))),
        "bare, equal lengths": _passes(bare, meter, list(_rectangles(tokens))),
    }
    lengths = sorted(len(one.prompt) + len(one.response) for one in tokens)
    told = {
        "device": str(meter._device), "dtype": str(meter._model.dtype), "conversations": len(lengths), "tokens": sum(lengths),
        "response_tokens": sum(len(one.response) for one in tokens), "median": lengths[len(lengths) // 2], "longest": lengths[-1],
    }  # fmt: skip
    told |= {"load": os.getloadavg()[0], "seconds": _timed(contenders, arguments.rounds)}
    sys.stdout.write(json.dumps(told) + "\n")


def _taken(
    meter: SignalMeter, conversations: list[dict[str, Any]], tokens_wanted: int, tokens_max: int
) -> tuple[list[dict[str, Any]], list[Tokens]]:
    """The first conversations that hold so many tokens together, none of them longer than the model's limit."""
    read = meter._reader.tokens([meter._reader.render(conversation) for conversation in conversations])
    fit = [
        (conversation, tokens)
        for conversation, tokens in zip(conversations, read, strict=True)
        if len(tokens.prompt) + len(tokens.response) <= tokens_max
    ]
    totals = accumulate(len(tokens.prompt) + len(tokens.response) for _, tokens in fit)
    taken = [pair for pair, total in zip(fit, totals, strict=True) if total <= tokens_wanted]
    return [conversation for conversation, _ in taken], [tokens for _, tokens in taken]


def _alone(tokens: list[Tokens]) -> Iterator[Row]:
    for one in sorted(tokens, key=lambda one: -len(one.prompt) - len(one.response)):
        ids = one.prompt + one.response
        yield torch.tensor([ids]), torch.arange(len(one.prompt) - 1, len(ids) - 1)


def _rectangles(tokens: list[Tokens]) -> Iterator[Row]:
    """The same tokens cut into rows of their mean length: what no real conversation is."""
    ids = [token for one in tokens for token in one.prompt + one.response]
    length = len(ids) // len(tokens)
    wanted = sum(len(one.response) for one in tokens) * length // len(ids)
    for begin, end in pairwise(range(0, len(ids) + 1, length)):
        yield torch.tensor([ids[begin:end]]), torch.arange(length - wanted, length)


def _passes(model: PreTrainedModel, meter: SignalMeter, rows: list[Row]) -> Callable[[], object]:
    """The model's body over each row and its head over the response positions: no loss, no pooling, nothing tokenised."""
    head = model.get_output_embeddings()
    on = [(ids.to(meter._device), positions.to(meter._device)) for ids, positions in rows]
    pool = ThreadPoolExecutor(meter._workers, initializer=torch.set_num_threads, initargs=(1,))

    @torch.inference_mode()
    def one(row: Row) -> None:
        ids, positions = row
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        for some in hidden[positions].split(max(1, meter._logits_max // head.weight.shape[0])):
            head(some)

    def everything() -> None:
        list(pool.map(one, on))
        if meter._device.type == "cuda":
            torch.cuda.synchronize()

    return everything


def _timed(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall and processor seconds of each contender, the best of the rounds; they take turns, so that all meet the same load."""
    best = {name: [float("inf"), float("inf")] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            began, spent = time.perf_counter(), time.process_time()
            run()
            took = (time.perf_counter() - began, time.process_time() - spent)
            if number:  # the first round warms up
                best[name] = [min(pair) for pair in zip(best[name], took, strict=True)]
    return best


if __name__ == "__main__":
    main()

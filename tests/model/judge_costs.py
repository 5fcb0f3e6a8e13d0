"""Both judges over the same samples, and a survey against the authors' way, for tests/bench/bench_judge.py: the model side."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headrace.lm.judge_generated import Decoding, GeneratedJudge
from headrace.lm.judge_layout import JudgeReader
from headrace.lm.judges import JudgeLimits
from headrace.lm.passes import hidden_states
from headrace.lm.signals import SignalMeter

_POSITIONS = 8192


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="a JSON list")
    parser.add_argument("--samples", type=int, required=True, help="judged both ways")
    parser.add_argument("--written", type=int, required=True, help="of those, surveyed the authors' way")
    parser.add_argument("--new-tokens", type=int, required=True, help="where their judge's texts are cut off")
    arguments = parser.parse_args()
    meter = SignalMeter.load(arguments.weights)
    sent = json.loads(arguments.conversations.read_text())[: arguments.samples]
    told = {"device": str(meter._device), "dtype": str(meter._model.dtype), "samples": len(sent)}
    told |= _agreement(meter, sent)
    told |= _costs(meter, sent[: arguments.written], arguments.new_tokens)
    sys.stdout.write(json.dumps(told | {"load": os.getloadavg()[0]}) + "\n")


def _agreement(meter: SignalMeter, sent: Sequence[Any]) -> dict[str, Any]:
    """Rank correlations of the two judges, the generated texts ended behind their first number, at 32 tokens at the latest."""
    judges = meter.judges(JudgeLimits(mass_min=0, decoding=Decoding(new_tokens_max=32)))
    meter.measure(sent[:2])  # warm
    scores, seconds = {}, {}
    for mode in ("logits", "generated"):
        judged, took = _timed(lambda mode=mode: judges.judge(sent, mode)[0])
        scores[mode], seconds[mode] = np.array([one.scores for one in judged]), took
        if mode == "logits":
            masses = [one.mass for one in judged]
    means = {mode: rows.mean(axis=1) for mode, rows in scores.items()}
    return {
        "judge_seconds": seconds, "mass_least": min(masses), "mass_mean": float(np.mean(masses)),
        "correlation_scores": rank_correlation(scores["logits"].ravel(), scores["generated"].ravel()),
        "correlation_quality": rank_correlation(means["logits"], means["generated"]),
        "spread": {mode: float(rows.std()) for mode, rows in scores.items()},
    }  # fmt: skip


def _costs(meter: SignalMeter, sent: Sequence[Any], new_tokens: int) -> dict[str, Any]:
    """Seconds of one survey: signals and judgement from logits; and of three passes and six texts for each sample."""
    judges = meter.judges(JudgeLimits(mass_min=0))
    tokens = [one.prompt_tokens + one.response_tokens for one in meter.measure(sent)]
    lengths: list[int] = []

    def decode(ids: Sequence[int]) -> str:
        lengths.append(len(ids))
        return meter._reader.text(ids)

    def judge(limit: int) -> Callable[[], object]:
        layout = JudgeReader(meter._reader, "generated", tokens_max=2048, positions_max=_POSITIONS)
        generated = GeneratedJudge(meter._model, layout, decode, decoding=Decoding(new_tokens_max=limit), whole=True)
        return lambda: generated.judge(sent, pool=meter._pool, workers=meter._workers)

    _, signals = _timed(lambda: meter.measure(sent))
    _, logits = _timed(lambda: judges.judge(sent, "logits"))
    _, prompts = _timed(lambda: _prompts_alone(meter, sent))
    _, first = _timed(judge(1))
    lengths.clear()
    _, written = _timed(judge(new_tokens))
    return {
        "surveyed": len(sent), "tokens": sum(tokens), "new_tokens": new_tokens,
        "texts": len(lengths), "unfinished": sum(length >= new_tokens for length in lengths),
        "seconds": {"signals": signals, "judge_logits": logits, "prompts": prompts, "first_word": first, "written": written},
    }  # fmt: skip


@torch.inference_mode()
def _prompts_alone(meter: SignalMeter, sent: Sequence[Any]) -> None:
    """The authors' embedding pass: every prompt by itself."""
    for tokens in meter._reader.tokens([meter._reader.render(one) for one in sent]):
        ids = torch.tensor(tokens.prompt, device=meter._device)
        hidden_states(meter._model, ids, range(len(ids)), (0, len(ids)))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; NaN where one of them says the same of everything."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values.round(6), return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def _timed(run: Callable[[], Any]) -> tuple[Any, list[float]]:
    """What it returns; wall and processor seconds."""
    began, spent = time.perf_counter(), time.process_time()
    result = run()
    return result, [time.perf_counter() - began, time.process_time() - spent]


if __name__ == "__main__":
    main()

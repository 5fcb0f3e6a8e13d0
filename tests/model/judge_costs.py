"""Both judges over the same samples, and a survey against the authors' way, for tests/bench/bench_judge.py: the model side."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from headrace.core.rounds.surveys import Judge
from headrace.lm.judge import Judged
from headrace.lm.judge_generated import Decoding, GeneratedJudge
from headrace.lm.judge_layout import JudgeReader, Quoted
from headrace.lm.judges import JudgeLimits
from headrace.lm.passes import hidden_states
from headrace.lm.signals import SignalMeter

_TOGETHER = 8
"""Samples judged at a time, one way and then the other, so that both meet the same load."""

_TOLD_EVERY = 64
"""Tokens of a text between two lines of progress."""

Spent = dict[str, float]


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="a JSON list")
    parser.add_argument("--samples", type=int, required=True, help="judged both ways")
    parser.add_argument("--surveyed", type=int, required=True, help="of those, surveyed both ways")
    parser.add_argument("--new-tokens", type=int, required=True, help="where the authors' texts are cut off")
    arguments = parser.parse_args()
    meter = SignalMeter.load(arguments.weights)
    costs = Costs(meter, arguments.new_tokens)
    sent = json.loads(arguments.conversations.read_text())[: arguments.samples]
    told = {"device": str(meter._device), "dtype": str(meter._model.dtype), "clock": costs.clock_name}
    told["survey"] = costs.survey(sent[: arguments.surveyed])
    told["agreement"] = costs.agreement(sent)
    sys.stdout.write(json.dumps(told | {"load": os.getloadavg()[0]}) + "\n")


class Costs:
    """Measures with one model.

    Time is the processor's, which depends little on what else the machine does; with a GPU, which it only waits for, the clock's.
    """

    def __init__(self, meter: SignalMeter, new_tokens: int) -> None:
        on_cpu = meter._device.type == "cpu"
        self._meter = meter
        self._clock, self.clock_name = (time.process_time, "processor s") if on_cpu else (time.perf_counter, "s")
        self._limits = JudgeLimits(mass_min=0, decoding=Decoding(new_tokens_max=new_tokens))
        self._judges = meter.judges(self._limits)

    def agreement(self, sent: Sequence[Any]) -> dict[str, Any]:
        """The scores of both judges, row by row, of the samples that both could read; what each spent on all."""
        spent: Spent = dict.fromkeys((Judge.LOGITS, Judge.GENERATED), 0.0)
        judged: dict[str, list[Judged]] = {mode: [] for mode in spent}
        for begin in range(0, len(sent), _TOGETHER):
            for mode in spent:
                found, took = self._timed(partial(self._judges.judge, sent[begin : begin + _TOGETHER], mode))
                judged[mode] += found[0]
                spent[mode] += took
            sys.stderr.write(f"judged {len(judged[Judge.LOGITS])} of {len(sent)}\n")
        rows = [row for row in zip(*judged.values(), strict=True) if not any(one.error for one in row)]
        return {
            "samples": len(rows), "asked": len(sent), "seconds": spent, "masses": [one.mass for one, _ in rows],
            "scores": {mode: [row[place].scores for row in rows] for place, mode in enumerate(judged)},
            "tokens": {mode: sum(one.tokens for one in some) for mode, some in judged.items()},
        }  # fmt: skip

    def survey(self, sent: Sequence[Any]) -> dict[str, Any]:
        """Tokens and seconds of each part; our parts are measured before the texts and behind them, and their mean is told.

        A pass under the base is one under the same model: what it costs does not depend on what it learnt.
        """
        self._judges.judge(sent, Judge.LOGITS)  # warm
        ours: list[Spent] = [self._parts(sent)]
        texts = self._texts(sent)
        ours.append(self._parts(sent))
        measured = self._meter.measure(sent)
        judged, _ = self._judges.judge(sent, Judge.LOGITS)
        prompts = sum(one.prompt_tokens for one in measured)
        both = prompts + sum(one.response_tokens for one in measured)
        return {
            "samples": len(sent), "texts": texts,
            "tokens": {"signals": both, "base": both, "judge": sum(one.tokens for one in judged), "prompts": prompts},
            "seconds": {name: sum(parts[name] for parts in ours) / len(ours) for name in ours[0]},
        }  # fmt: skip

    def _parts(self, sent: Sequence[Any]) -> Spent:
        runs: dict[str, Callable[[], object]] = {
            "signals": lambda: self._meter.measure(sent),
            "base": lambda: self._meter.measure(sent),
            "judge": lambda: self._judges.judge(sent, Judge.LOGITS),
            "prompts": lambda: self._prompts_alone(sent),
        }
        return {name: self._timed(run)[1] for name, run in runs.items()}

    @torch.inference_mode()
    def _prompts_alone(self, sent: Sequence[Any]) -> None:
        """The authors' embedding pass: every prompt by itself, its states pooled."""
        reader = self._meter._reader
        for tokens in reader.tokens([reader.render(one) for one in sent]):
            ids = torch.tensor(tokens.prompt, device=self._meter._device)
            hidden_states(self._meter._model, ids, range(len(ids)), (0, len(ids))).float().mean(dim=0).tolist()

    def _texts(self, sent: Sequence[Any]) -> dict[str, Any]:
        """All texts side by side, each to its own end: `course` tells for every length what was spent and written up to it."""
        meter, limits = self._meter, self._limits
        layout = JudgeReader(
            meter._reader, Judge.GENERATED.value, tokens_max=limits.tokens_max,
            positions_max=meter._model.config.max_position_embeddings - limits.decoding.new_tokens_max,
        )  # fmt: skip
        judge = GeneratedJudge(meter._model, layout, meter._reader.text, decoding=limits.decoding)
        asked = [ids for one in _quoted(layout, sent) for ids in judge.asked(one)]
        reached: dict[int, float] = {}
        words: Counter[int] = Counter()

        def goes_past(text: Sequence[int]) -> bool:
            length = len(text)
            reached[length] = self._clock()
            words[length] += 1
            if words[length] == 1 and length % _TOLD_EVERY == 0:
                sys.stderr.write(f"texts are {length} tokens long, {reached[length] - began:.0f} {self.clock_name}\n")
            return False

        began = self._clock()
        written = judge.write(asked, goes_past)
        lengths = [len(text) for text in written]
        return {
            "asked_tokens": sum(map(len, asked)), "lengths": lengths,
            "course": _course(reached, words, began),
        }  # fmt: skip

    def _timed(self, run: Callable[[], Any]) -> tuple[Any, float]:
        began = self._clock()
        result = run()
        return result, self._clock() - began


def _quoted(layout: JudgeReader, sent: Sequence[Any]) -> Iterator[Quoted]:
    for one in layout.quoted(sent):
        if not isinstance(one, Quoted):
            raise one
        yield one


def _course(reached: dict[int, float], words: Counter[int], began: float) -> list[tuple[int, int, float]]:
    """Length, words of all texts up to it, and seconds until the last of them was written."""
    total, course = 0, []
    for length in sorted(reached):
        total += words[length]
        course.append((length, total, reached[length] - began))
    return course


if __name__ == "__main__":
    main()

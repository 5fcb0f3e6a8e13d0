"""How many lines a second one core turns into samples: `python tests/bench/bench_intake.py`."""

import json
import time

from headrace.core.intake import IntakeLimits, parse_line

LINES = 20_000
ROUNDS = 5


def lines() -> dict[str, bytes]:
    """One line of about 1 kB in each form that counts, and one that must be escaped."""
    question, answer = (
        "What is the sum of $\\frac{1}{2}$ and $\\beta$? " * 5,
        "The answer is \\boxed{42}.\nLet us think it over. " * 15,
    )
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    envelope = {"id": "p-1.a", "reference": {"answer": "42", "verifier": "math"}, "metadata": {"source": "bench", "score": 0.5}}
    tool = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    calls = [turns[0], {"role": "assistant", "content": None, "tool_calls": [tool]}, {"role": "tool", "content": "3"}, turns[1]]
    return {
        "messages": json.dumps({"messages": turns, **envelope}).encode(),
        "messages, escaped non-ASCII": json.dumps(
            {"messages": [*turns[:1], {"role": "assistant", "content": answer + "😀é"}]}
        ).encode(),
        "messages, tool calls": json.dumps({"messages": calls}).encode(),
        "alpaca": json.dumps({"instruction": question, "input": "", "output": answer}).encode(),
        "sharegpt": json.dumps(
            {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}
        ).encode(),
    }


def main() -> None:
    """Print the best of a few rounds for each form."""
    limits = IntakeLimits()
    for name, raw in lines().items():
        best = min(_seconds(raw, limits) for _ in range(ROUNDS))
        print(f"{name:30} {len(raw):5} bytes {LINES / best:10,.0f} lines/s {best / LINES * 1e6:6.1f} us/line")  # noqa: T201 - its output


def _seconds(raw: bytes, limits: IntakeLimits) -> float:
    began = time.perf_counter()
    for _ in range(LINES // ROUNDS):
        parse_line(raw, "bench", limits, "http")
    return (time.perf_counter() - began) * ROUNDS


if __name__ == "__main__":
    main()

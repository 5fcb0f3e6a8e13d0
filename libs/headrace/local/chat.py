"""An OpenAI-compatible endpoint: llama.cpp's server from its wheel, on a GGUF file of SmolLM2-135M-Instruct."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from headrace.local.checkout import checkout, model_python
from headrace.local.launch import Launch, Place, Say, StackFailed
from headrace.local.ports import LOCALHOST
from headrace.local.probes import http_answers

MODEL = "HEADRACE_LOCAL_CHAT_MODEL"
"""Setting that names a GGUF file to serve; unset: the model that the model environment brings."""

SLOTS = 4
"""Replies written at a time: on two cores more of them give no more tokens a second."""
CONTEXT_TOKENS = 4_096
"""Prompt and reply of one call."""
DEADLINE_S = 240
"""Processors write slowly, and are shared with the rest of the stack."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The endpoint that answers in every role that has none of its own."""

    name: str = "chat"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("http",)

    def prepare(self, place: Place, say: Say) -> Launch:
        """Finds the model; the server reads it as it is."""
        del say  # nothing here takes a while
        if find_spec("xllamacpp") is None:
            raise StackFailed(
                "no llama.cpp (xllamacpp) in this environment: `make install`, or name an endpoint in HEADRACE_CHAT_URL"
            )
        model = model_file()
        place.folder.mkdir(parents=True, exist_ok=True)
        address = f"http://{LOCALHOST}:{place.ports['http']}"
        tells = {
            "HEADRACE_CHAT_MODEL": model.stem.lower(),
            "HEADRACE_CHAT_CONCURRENCY": str(SLOTS),
            "HEADRACE_CHAT_DEADLINE_S": str(DEADLINE_S),
            "HEADRACE_CHAT_PROMPT_PRICE": "0",
            "HEADRACE_CHAT_COMPLETION_PRICE": "0",
            # A model of this size keeps to no form, and once it rambles it does not stop.
            "HEADRACE_REFINEMENT_STYLE": "plain",
            "HEADRACE_REFINEMENT_PROMPT_TOKENS_MAX": "256",
            "HEADRACE_REFINEMENT_ANSWER_TOKENS_MAX": "256",
            "HEADRACE_REFINEMENT_BATCH_RECORDS_MAX": "8",
        }
        set_by_user = {name: place.environment[name] for name in tells if place.environment.get(name)}
        return Launch(
            command=(
                sys.executable, "-m", "headrace.local.chat_server", "--model", str(model), "--port", str(place.ports["http"]),
                "--slots", str(SLOTS), "--context-tokens", str(CONTEXT_TOKENS),
            ),
            folder=place.folder,
            log=place.log,
            probe=partial(http_answers, f"{address}/health"),
            ready_s=60,
            stop_s=5,
            tells={"HEADRACE_CHAT_URL": f"{address}/v1", **tells, **set_by_user},
        )  # fmt: skip


def model_file() -> Path:
    """The GGUF file to serve.

    Raises:
        StackFailed: the one that is named does not exist, or the model environment has none.
    """
    if named := os.environ.get(MODEL):
        path = Path(named).absolute()
        if not path.is_file():
            raise StackFailed(f"{MODEL} is {named!r}: no such file")
        return path
    command = (str(model_python()), "-c", "from headrace.lm.prepare import default_source; print(default_source())")
    environment = {**os.environ, "PYTHONPATH": str(checkout() / "libs")}
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)  # noqa: S603  # our own words
    path = Path(told.stdout.strip())
    if told.returncode or not path.is_file():
        raise StackFailed(
            f"the model environment has no GGUF file ({told.stderr.strip()[-300:]}): `make model-env`, or name one in {MODEL}"
        )
    return path

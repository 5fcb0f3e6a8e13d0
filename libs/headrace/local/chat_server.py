"""llama.cpp's own server as a process: `python -m headrace.local.chat_server --model FILE --port PORT`, until SIGTERM."""

import argparse
import os
import signal
from pathlib import Path

from headrace.local.ports import LOCALHOST

_PROMPT_CACHE_MIB = 256
_WARNINGS = 2


def main() -> None:
    """Serves the file on this machine only."""
    parser = argparse.ArgumentParser(prog="headrace.local.chat_server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=4, help="replies written at a time")
    parser.add_argument("--context-tokens", type=int, default=4096, help="prompt and reply of one call")
    arguments = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the server's threads are made, which would take them
    server = _start(arguments)
    signal.sigwait(ends)
    del server  # finishes what it is writing


def _start(arguments: argparse.Namespace) -> object:
    import xllamacpp  # noqa: PLC0415  # 100 MB that only this process needs

    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = {arguments.model.stem.lower()}
    params.hostnames = [LOCALHOST]
    params.port = arguments.port
    # Its threads wait for each other by spinning: one that has to share its core slows the others down twenty times.
    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = arguments.slots
    params.n_ctx = arguments.slots * arguments.context_tokens
    params.cont_batching = True
    params.use_jinja = True
    params.cache_ram_mib = _PROMPT_CACHE_MIB  # its own default is 8 GiB
    params.endpoint_metrics = True
    params.endpoint_slots = False  # they show what others ask
    params.ui = False
    params.offline = True
    params.verbosity = _WARNINGS
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()

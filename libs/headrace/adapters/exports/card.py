"""The dataset card: README.md with the front matter that `datasets` and the Hugging Face Hub read."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from headrace.adapters.exports.contents import ACCEPTED, HELD_OUT, REJECTED, Contents
from headrace.adapters.exports.shapes import yaml_features
from headrace.core.exports import LEFT_MEANING, PAIR_MEANING, ExportFormat
from headrace.core.reasons import MEANING

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
          (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip
_LARGEST = "n>1B"


def card(contents: Contents) -> str:
    """The whole README.md. The same contents give the same text."""
    front = yaml.safe_dump(_front_matter(contents), sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{front}---\n" + "\n".join(_text(contents)) + "\n"


def _front_matter(contents: Contents) -> dict[str, Any]:
    return {
        **({"license": contents.licence} if contents.licence else {}),
        "pretty_name": contents.version.manifest.dataset,
        "tags": ["headrace"],
        "size_categories": [next((name for rows, name in _SIZES if contents.rows < rows), _LARGEST)],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == ACCEPTED else {}),
                "data_files": [{"split": split.name, "path": split.pattern} for split in splits],
            }
            for config, splits in contents.configs.items()
        ],
        "dataset_info": [{"config_name": config, "features": yaml_features(contents.schema)} for config in contents.configs],
    }


def _text(contents: Contents) -> Iterator[str]:
    manifest = contents.version.manifest
    yield f"\n# {manifest.dataset}, version {manifest.sequence}\n"
    yield f"Exported by Headrace from version `{contents.version.id}`. Form: {contents.shape.summary}.\n"
    if not contents.licence:
        yield "Licence: not stated. Whoever publishes this sets `license` above.\n"
    yield from _splits(contents)
    yield from _left_out(contents)
    yield from _origin(contents)


def _splits(contents: Contents) -> Iterator[str]:
    yield "## Rows\n"
    yield "| configuration | split | rows | files |\n|---|---|--:|--:|"
    for split in contents.splits:
        yield f"| {split.config} | {split.name} | {split.rows} | {len(split.files)} |"
    yield ""
    if contents.held_out_share:
        seed = f" and the seed `{contents.held_out_seed}`" if contents.held_out_seed else ""
        yield (
            f"`{HELD_OUT}` holds out {contents.held_out_share:.6g} of the prompts, chosen by a hash of the prompt{seed}: answers "
            "to one question never lie in both splits, and what is held out stays so in later versions.\n"
        )
    if REJECTED in contents.configs:
        yield f"`{REJECTED}` has the rows that the policy did not admit, each with its reason in the version.\n"
    if contents.shape.format is ExportFormat.PREFERENCE:
        yield "`chosen` and `rejected` answer the same prompt: all that comes before the answer has equal hashes.\n"
        yield from _table("found by", contents.found_by, PAIR_MEANING)


def _left_out(contents: Contents) -> Iterator[str]:
    if contents.left_out:
        what = "pairs" if contents.shape.format is ExportFormat.PREFERENCE else "rows"
        yield f"## Left out\n\nThe form cannot hold these {what}; `left-out.jsonl` names each.\n"
        yield from _table("reason", contents.left_out, LEFT_MEANING)


def _origin(contents: Contents) -> Iterator[str]:
    manifest, counts = contents.version.manifest, contents.version.manifest.counts
    yield "## Where it comes from\n"
    yield (
        f"Of {counts.decided} decisions since the dataset began, {counts.accepted} are accepted rows, {counts.rejected} rejected "
        f"and {counts.superseded} were accepted and replaced by a later revision.\n"
    )
    forgotten = sum(manifest.forgotten.values())
    if forgotten:
        yield f"{forgotten} rows of this version were forgotten after it was cut: retracted, and their bytes removed.\n"
    yield from _table("outcome", manifest.reasons, MEANING)
    yield from _table("policy", manifest.policies, {})
    yield from _table("model", manifest.models, {})


def _table(title: str, tally: Mapping[Any, int], meaning: Mapping[Any, str]) -> Iterator[str]:
    if not tally:
        return
    yield f"| {title} | count |{' meaning |' if meaning else ''}\n|---|--:|{'---|' if meaning else ''}"
    for name in sorted(tally, key=lambda name: (-tally[name], name)):
        yield f"| {_cell(str(name))} | {tally[name]} |" + (f" {meaning.get(name, '')} |" if meaning else "")
    yield ""


def _cell(text: str) -> str:
    """A name from outside, as text in a table."""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"

"""Checkpoints: what a trainer made of which samples, and whether scoring measures with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SEEN_FILE = "headrace_seen_samples.txt"
"""The file among a checkpoint's that names what was trained on: a JSON array [sample id, revision] a line, UTF-8.

Any trainer may write it; without it the samples follow from `TrainingData`.
"""


class CheckpointKind(StrEnum):
    """What the weights are: all of a model's, or a LoRA adapter that is merged into its base model."""

    FULL = "full"
    ADAPTER = "adapter"


class RefusedStep(StrEnum):
    """Where a roll-out ended."""

    FETCH = "fetch"
    VERIFY = "verify"
    INSTALL = "install"
    LOAD = "load"
    GOLDEN = "golden"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file of a checkpoint: a plain name, never a path, and the SHA-256 (lower-case hex) it is stored under."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PositionRange:
    """Records of one partition of an accepted topic: offsets from `from_offset` up to, not including, `until_offset`.

    `share` = (index, of) is the part of the dataset that the reader took (`headrace.core.sharing`): of more parts than
    partitions each takes some of a partition's samples. Below `repeats_until` the reader passed over what the version of the
    same data holds.
    """

    partition: int
    from_offset: int
    until_offset: int
    share: tuple[int, int] = (0, 1)
    repeats_until: int = 0


@dataclass(frozen=True, slots=True)
class VersionPart:
    """What was read of a version: the accepted rows of part `share` from one place up to, not including, another.

    A place is (number of the shard in the manifest's order, row in it), both from 0 and as the version was cut, whatever was
    forgotten since; `until` is None for the end.
    """

    share: tuple[int, int] = (0, 1)
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Which samples a run took: the accepted rows of `version` (empty: none), then `positions` of the accepted topic.

    Where not the whole version was read, `version_parts` say what was. `streamed` means that samples were trained on one after
    the other as they were read, so that what was taken back or replaced later was seen before; else all was read first, and
    what stood at the end was trained on. `held_out_share` (0 to below 1) and `held_out_seed` name the samples that were not
    trained on: the choice follows from the prompts alone, see `headrace.core.fine_tuning.is_held_out`.
    """

    dataset_id: str
    version: str = ""
    positions: tuple[PositionRange, ...] = ()
    held_out_share: float = 0.0
    held_out_seed: str = ""
    rows_trained: int = 0
    rows_held_out: int = 0
    version_parts: tuple[VersionPart, ...] = ()
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointPublished:
    """A checkpoint is whole in the object store. `checkpoint_id` is the SHA-256 of its manifest.

    `model` is the trained model's name on the model server. `metrics` are losses in nats per response token and durations
    in seconds; `hyperparameters_json` is a JSON object. `published_at` is Unix time in seconds.
    """

    model: str
    checkpoint_id: str
    manifest_key: str
    kind: CheckpointKind
    files: tuple[CheckpointFile, ...]
    base_model: str
    base_sha256: str
    data: TrainingData
    published_at: float
    hyperparameters_json: str = "{}"
    metrics: Mapping[str, float] = field(default_factory=dict)
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointRolledOut:
    """From here on scoring measures with `model_version`, in the place of `previous_version`.

    `checkpoint_id` is empty for the weights that the model server began with. Losses are the mean over the golden samples,
    in nats per response token. `seconds` run from publication to this event; `load_seconds` of them were the model
    server's. `rollback_request_id` is empty for a new checkpoint. `weights_sha256` is the hash of the version's weights, as an
    adapter trained on them names it (`CheckpointPublished.base_sha256`); empty from an earlier release.
    """

    model: str
    checkpoint_id: str
    model_version: str
    previous_version: str
    golden_loss: float
    dimensions: int
    seconds: float
    load_seconds: float
    rolled_out_at: float
    previous_golden_loss: float | None = None
    rollback_request_id: str = ""
    weights_sha256: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointRefused:
    """A checkpoint that was not rolled out, or a rollback that was not made: nothing changed.

    `rollback_request_id` names the rollback; it is empty where a checkpoint was refused.
    """

    model: str
    checkpoint_id: str
    step: RefusedStep
    reason: str
    refused_at: float
    rollback_request_id: str = ""


@dataclass(frozen=True, slots=True)
class RollbackRequested:
    """Someone wants an earlier version to measure again; an empty `checkpoint_id` means the one before the present one."""

    model: str
    request_id: str
    checkpoint_id: str
    requested_by: str

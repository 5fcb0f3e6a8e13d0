"""Whether the model that measures is the one that was trained on a version, without the prompts that rounds measure by. Pure."""

from headrace.core.checkpoints import CheckpointPublished, TrainingData


def holds_out_too_little(data: TrainingData, share: float, seed: str) -> str:
    """Why what was trained so is no judge on prompts held out by this share (0 to below 1) and seed; empty where it is one."""
    if data.held_out_seed == seed and data.held_out_share >= share:
        return ""
    held_out = f"held out {data.held_out_share:g} of the prompts with seed {data.held_out_seed!r}"
    return f"it {held_out}, the round measures by {share:g} with seed {seed!r}"


def whole_version_of(data: TrainingData) -> str:
    """The version that was trained on; empty where there is none, or a part of it alone."""
    return "" if data.version_parts else data.version


def is_trained_on(published: CheckpointPublished, dataset_id: str, version: str, share: float, seed: str) -> bool:
    """Whether a checkpoint was trained on that version, and holds out what this share and seed hold out."""
    data = published.data
    return (data.dataset_id, whole_version_of(data)) == (dataset_id, version) and not holds_out_too_little(data, share, seed)


def trained_otherwise(
    checkpoint_id: str, published: CheckpointPublished | None, dataset_id: str, version: str, share: float, seed: str
) -> str:
    """Why a model is not the one that a round on that version is about: what it was trained on instead; empty where it is.

    `checkpoint_id` is what the model was rolled out from, empty for what the model server began with; `published` is what its
    trainer said of it, None where nobody knows. A survey asks what the model could not learn from these rows, and the verdict
    compares the held-out losses of two models that were trained alike: on the version before the round, and on the one after.
    """
    if not checkpoint_id:
        return f"the weights that the model server began with measure, and they have seen nothing of {dataset_id}"
    name = f"checkpoint {checkpoint_id[:12]}, which measures,"
    if published is None:
        return f"nobody knows what {name} was trained on"
    data = published.data
    if data.dataset_id != dataset_id:
        return f"{name} was trained on dataset {data.dataset_id or '(none)'}"
    if data.version != version:
        taken = f"version {data.version[:12]}" if data.version else "the accepted stream"
        return f"{name} was trained on {taken} and not on version {version[:12]}"
    if data.version_parts:
        return f"{name} was trained on a part of version {version[:12]} alone"
    if amiss := holds_out_too_little(data, share, seed):
        return f"{name} was trained on some of what the round measures by: {amiss}"
    return ""

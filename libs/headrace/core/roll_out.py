"""What became of a model's checkpoints: a fold over what was published, rolled out and refused. Pure.

The three topics may be read in any order against each other, each in its own order: the outcome is the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.core.checkpoints import (
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    RefusedStep,
)

Told = CheckpointPublished | CheckpointRolledOut | CheckpointRefused


class NoRollback(ValueError):
    """There is nothing to go back to; the message says why."""


@dataclass(slots=True)
class RollOuts:
    """One model's roll-outs so far.

    `line` holds the announced versions that lead to the present one, the present one last: a roll-out adds to it, a rollback
    takes back to where it goes. `checkpoints` names the checkpoint of every version that was ever announced, the weights that
    the model server began with first (an empty name). `answered` are the rollback requests that were granted, `refused` the
    latest refusal of each checkpoint, `not_gone_back` that of each rollback by the checkpoint it was to go to (an empty name: the
    one before), `latest` the announcement that stands. `weights` names the version with weights of this SHA-256; those announced
    by earlier releases are not among them.
    """

    published: dict[str, CheckpointPublished] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    line: tuple[str, ...] = ()
    answered: set[str] = field(default_factory=set)
    refused: dict[str, CheckpointRefused] = field(default_factory=dict)
    not_gone_back: dict[str, CheckpointRefused] = field(default_factory=dict)
    latest: CheckpointRolledOut | None = None
    weights: dict[str, str] = field(default_factory=dict)

    def take(self, told: Told) -> None:
        """Take in one more event of this model."""
        match told:
            case CheckpointPublished():
                self.published[told.checkpoint_id] = told
            case CheckpointRefused():
                refusals = self.not_gone_back if is_of_rollback(told) else self.refused
                refusals[told.checkpoint_id] = told
            case CheckpointRolledOut():
                self.checkpoints[told.model_version] = told.checkpoint_id
                self.line = _moved(self.line, told.model_version)
                self.latest = told
                if told.weights_sha256:
                    self.weights.setdefault(told.weights_sha256, told.model_version)
                if told.rollback_request_id:
                    self.answered.add(told.rollback_request_id)

    @property
    def present(self) -> str | None:
        """The version that measures; None before the first announcement."""
        return self.line[-1] if self.line else None

    def version_of(self, checkpoint_id: str) -> str | None:
        """The version that a checkpoint was announced as, None where it never was."""
        return next((version for version, its in self.checkpoints.items() if its == checkpoint_id), None)

    def weights_of(self, version: str) -> str:
        """The SHA-256 of a version's weights, empty where it is not known."""
        return next((sha256 for sha256, its in self.weights.items() if its == version), "")

    def base_of(self, published: CheckpointPublished) -> str | None:
        """The version that an adapter was trained on, None where it is not known, and for a full checkpoint."""
        return self.weights.get(published.base_sha256) if published.kind is CheckpointKind.ADAPTER else None

    def way_back(self, checkpoint_id: str) -> str:
        """The version that a rollback goes to; an empty `checkpoint_id` is the one before the present one.

        Raises:
            NoRollback: there is none, or it is the present one.
        """
        if not checkpoint_id:
            if len(self.line) < 2:  # noqa: PLR2004 - the present one and one before it
                raise NoRollback("no version was rolled out before the present one")
            return self.line[-2]
        version = self.version_of(checkpoint_id)
        if version is None:
            raise NoRollback(f"checkpoint {checkpoint_id[:12]} was never rolled out")
        if version == self.present:
            raise NoRollback(f"checkpoint {checkpoint_id[:12]} is the present one")
        return version

    def number_for(self, offset: int) -> int:
        """The version number of the checkpoint published at this offset of its topic: the same at every attempt.

        No number is ever used for two checkpoints, refused ones included, since signals carry it: it follows from the
        offset and from the version that was there first.

        Raises:
            ValueError: nothing was announced yet.
        """
        if not self.checkpoints:
            raise ValueError("no version was announced yet")
        return int(next(iter(self.checkpoints))) + 1 + offset


def is_of_rollback(refused: CheckpointRefused) -> bool:
    """Whether a rollback was refused, not a checkpoint. Refusals of earlier releases tell it by the step alone."""
    return bool(refused.rollback_request_id) or refused.step is RefusedStep.ROLLBACK


def folded(told: Iterable[Told]) -> dict[str, RollOuts]:
    """The roll-outs of every model in these events."""
    models: dict[str, RollOuts] = {}
    for each in told:
        models.setdefault(each.model, RollOuts()).take(each)
    return models


def _moved(line: tuple[str, ...], version: str) -> tuple[str, ...]:
    return line[: line.index(version) + 1] if version in line else (*line, version)

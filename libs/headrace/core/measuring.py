"""What a measurement of conversations without a server is told and what it tells: shared with the model's side. Pure.

A measurement has a folder: `measure.json` says what to do, and each task's rows are a file of conversations there, one JSON
object a line (`id`, `revision`, `messages`, `tools`). It leaves `<task>.npz` for each task, and
`versions.json`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MEASURE_FILE = "measure.json"
VERSIONS_FILE = "versions.json"
"""What it was measured with: versions of packages by name, and the device."""

LOSS, ERROR, PROMPTS, CONVERSATIONS, SCORES, JUDGE_ERROR, LENGTHS, TRUNCATED = (
    "loss_mean", "error", "prompt_embedding", "conversation_embedding", "scores", "judge_error", "tokens", "truncated",
)  # fmt: skip
"""Arrays of a result, a row for each conversation in order. Losses are in nats per response token, embeddings of unit length and
scores from 0 to 10, a column for each of JUDGED; what was not made is NaN (an embedding: zeros), and the error says why.
`tokens` has two columns, prompt and response."""


class MeasuringTask(BaseModel):
    """Conversations to measure under one model: the base as it is, or with an adapter or other weights from `weights`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    rows_file: str
    weights: str = ""
    judged: bool = False

    @property
    def result_file(self) -> str:
        return f"{self.name}.npz"


class MeasuringRun(BaseModel):
    """The whole of `measure.json`. `base` is a folder of weights; tasks of one model should stand together: it is loaded once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    tasks: tuple[MeasuringTask, ...]
    tokens_max: int = Field(2048, ge=8)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class MeasuringProgress(BaseModel):
    """One line of a measurement's standard output."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str
    rows_done: int
    rows: int

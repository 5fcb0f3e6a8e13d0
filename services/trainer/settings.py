"""Settings of the trainer, from HEADRACE_TRAINER_* environment variables; stream and store have their own."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.core.fine_tuning import Hyperparameters


class TrainerSettings(Hyperparameters, BaseSettings):
    """What is trained, from what, where and how often; the hyper-parameters are `headrace.core.fine_tuning.Hyperparameters`'."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_TRAINER_", frozen=True, extra="ignore", title="TrainerSettings")

    model: str = Field("signals", description="The trained model's name on the model server.")
    base: Path | None = Field(None, description="Folder of the weights to begin from; unset: those of SmolLM2-135M-Instruct.")
    base_name: str = Field("", description="What people call those weights; unset: the folder's name.")
    folder: Path | None = Field(None, description="Where rows and runs are kept; unset: `trainer` in the stack's folder.")
    python: Path | None = Field(None, description="Python with torch, TRL and PEFT; unset: the model environment's.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 takes half of the cores: the stack needs the others.")
    save_every_steps: int = Field(8, ge=1, description="Steps between two saved states; a killed run loses at most so many.")
    held_out_rows_max: int = Field(32, ge=0, description="Most held-out conversations measured before and after.")
    every_rows: int = Field(1_000, ge=1, description="Following: train after so many newly accepted samples.")
    every_s: float = Field(0, ge=0, description="Following: train after so many seconds too, if anything is new; 0: never.")

    def hyperparameters(self) -> Hyperparameters:
        """Those alone that shape the result."""
        return Hyperparameters.model_validate({name: getattr(self, name) for name in Hyperparameters.model_fields})

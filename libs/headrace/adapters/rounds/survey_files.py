"""A survey's objects on local disk, each fetched or built once for all the steps that need it; lost with the process."""

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.adapters.rounds.closed_set import PromptVectors, build_prompt_vectors
from headrace.adapters.rounds.measured_rows import PLAIN_PROMPT
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.rounds.stored import survey_prefix
from headrace.core.rounds.surveys import Survey
from headrace.core.versions import DamagedVersion

OpenObjects = Callable[[], Awaitable[ObjectStore]]
"""The object store, opened when it is first needed. Raises Stop where it cannot be."""

_FILE_BYTES_MAX = 1 << 40
"""What a survey's table or selection may weigh: they grow with the dataset, and the disk is the limit."""


@dataclass(slots=True, eq=False)
class LocalSurvey:
    """One survey's files; methods raise DamagedVersion, naming the object, and Stop when the store is gone."""

    survey: Survey
    folder: Path
    objects: ObjectStore
    users: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _vectors: dict[str, PromptVectors] = field(default_factory=dict)

    async def prompts(self, rows: int) -> PromptVectors:
        """The closed set with its embeddings. Raises RowsMissing where it is not closed and has fewer rows than these."""
        return await self._built(rows, "prompt")

    async def compared(self, rows: int) -> PromptVectors:
        """The closed set with the embeddings that densities are made of. Raises as `prompts` does."""
        return await self._built(rows, PLAIN_PROMPT if self.survey.plain_prompts else "prompt")

    async def _built(self, rows: int, column: str) -> PromptVectors:
        async with self._lock:
            if column not in self._vectors:
                folder = self.folder / column
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                self._vectors[column] = await build_prompt_vectors(self.objects, self.survey, rows, folder, column)
            return self._vectors[column]

    async def file(self, key: str) -> Path | None:
        """The object under a key of the survey; None where there is none."""
        path = self.folder / key.rpartition("/")[2]
        async with self._lock:
            if not path.exists():
                part = path.with_suffix(".part")
                try:
                    await self.objects.fetch(key, part, bytes_max=_FILE_BYTES_MAX)
                except ObjectMissing:
                    return None
                part.rename(path)
        return path

    async def required_file(self, key: str) -> Path:
        """The object under a key of the survey, which is to be there."""
        path = await self.file(key)
        if path is None:
            raise DamagedVersion(f"{key}: no such object, though the round asks for what follows from it")
        return path


class SurveyFiles:
    """The latest surveys that this process had to do with, at most `surveys_max`; those in use stay beyond that."""

    def __init__(self, open_objects: OpenObjects, folder: Path, surveys_max: int = 2) -> None:
        self._open_objects = open_objects
        self._folder = folder
        self._surveys_max = surveys_max
        self._there: OrderedDict[str, LocalSurvey] = OrderedDict()
        self._made = 0

    @asynccontextmanager
    async def of(self, survey: Survey) -> AsyncIterator[LocalSurvey]:
        """The survey's files, for as long as the context lasts. Raises BadRoundId, or Stop when the store is gone."""
        prefix, objects = survey_prefix(survey), await self._open_objects()
        if prefix not in self._there:
            self._made += 1
            folder = self._folder / f"survey-{self._made}"
            folder.mkdir()
            self._there[prefix] = LocalSurvey(survey, folder, objects)
        local = self._there[prefix]
        self._there.move_to_end(prefix)
        local.users += 1
        try:
            yield local
        finally:
            local.users -= 1
            self._make_room()

    def _make_room(self) -> None:
        idle = [prefix for prefix, local in self._there.items() if not local.users]
        for prefix in idle[: max(0, len(self._there) - self._surveys_max)]:
            shutil.rmtree(self._there.pop(prefix).folder, ignore_errors=True)

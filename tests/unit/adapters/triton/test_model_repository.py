"""The folder that the model server reads."""

import pytest

from headrace.adapters.triton.model_repository import ModelRepository, NoSuchModel
from headrace.lm.repository import add_version
from tests.fakes.model_repositories import model_repository, weights_folder


def test_the_versions_served_survive_that_the_first_version_is_made_anew(tmp_path):
    """As at every start of the local stack: what was rolled out is loaded again."""
    weights = weights_folder(tmp_path / "weights")
    add_version(tmp_path / "models", model="signals", version=1, weights=weights)
    repository = ModelRepository(tmp_path / "models")
    assert repository.served("signals") is None
    repository.serve("signals", {1, 3})
    add_version(tmp_path / "models", model="signals", version=1, weights=weights)
    assert repository.served("signals") == (1, 3)
    assert repository.size_bytes("signals", 1) == (weights / "model.safetensors").stat().st_size
    assert [path.name for path in (tmp_path / "models" / "signals").iterdir() if "unfinished" in path.name] == []


def test_a_served_version_is_never_removed(tmp_path):
    """Others are, with what was counted for them."""
    repository = model_repository(tmp_path)
    for version in (2, 3):
        weights = weights_folder(tmp_path / "made" / "weights")
        repository.install("signals", version, weights, checkpoint_id=f"c{version}", like=1)
        weights.parent.rmdir()
    repository.serve("signals", {1, 3})
    assert [repository.count_load("signals", 2), repository.count_load("signals", 2)] == [1, 2]
    repository.remove("signals", [2])
    assert repository.count_load("signals", 2) == 1
    with pytest.raises(ValueError, match="served"):
        repository.remove("signals", [3])
    assert repository.versions("signals") == (1, 3)
    assert repository.holds("signals", 3, "c3")
    assert not repository.holds("signals", 3, "c2")
    with pytest.raises(NoSuchModel, match="other"):
        repository.require("other")

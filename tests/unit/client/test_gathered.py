"""The table of gathered samples: the latest revision of each, the same ones held out every time, rows and position together."""

import pytest

from headrace.client import Gathered
from headrace.core.fine_tuning import is_held_out

SHARE = 0.3


@pytest.fixture
def gathered(tmp_path):
    with Gathered(tmp_path / "table.sqlite", "seed") as table:
        yield table


def ids(rows):
    return [sample_id for sample_id, _, _ in rows]


def test_a_later_revision_replaces_an_earlier_one(gathered):
    """Whatever the order of arrival, the highest revision stands; a retraction takes back what it covers and no more."""
    for revision in (1, 0, 2, 1):
        gathered.accept("a", revision, "prompt", f"text {revision}")
    assert [*gathered.trained(0)] == [("a", 2, "text 2")]
    gathered.retract("a", 1)
    assert gathered.counts(0) == (1, 0)
    gathered.retract("a", 2)
    gathered.retract("never there", 5)
    assert gathered.counts(0) == (0, 0)
    gathered.accept("a", 3, "prompt", "again")
    assert ids(gathered.trained(0)) == ["a"]


def test_training_and_holding_out_share_everything(gathered):
    """Every sample is in exactly one of the two, as its prompt says: two answers to one question are on one side."""
    prompts = {f"sample-{number}": f"prompt-{number // 2}" for number in range(1_000)}
    for name, prompt_hash in prompts.items():
        gathered.accept(name, 0, prompt_hash)
    trained, held_out = ids(gathered.trained(SHARE)), ids(gathered.held_out(SHARE))
    assert sorted(trained + held_out) == sorted(prompts)
    assert set(held_out) == {name for name, prompt_hash in prompts.items() if is_held_out(prompt_hash, SHARE, "seed")}
    assert {prompts[name] for name in held_out}.isdisjoint(prompts[name] for name in trained)
    assert gathered.counts(SHARE) == (len(trained), len(held_out))
    assert 200 < len(held_out) < 400
    assert ids(gathered.trained(SHARE, 7)) == trained[:7]
    assert trained != sorted(trained)


def test_the_first_rows_are_not_all_answers_to_few_prompts(gathered):
    """The order is drawn by sample: of a thousand answers to ten prompts, the first thirty answer most of those in training."""
    for number in range(1_000):
        gathered.accept(f"sample-{number}", 0, f"prompt-{number % 10}")
    answered = {int(name.removeprefix("sample-")) % 10 for name in ids(gathered.trained(SHARE))}
    first = {int(name.removeprefix("sample-")) % 10 for name in ids(gathered.trained(SHARE, 30))}
    assert 1 < len(answered) < 10
    assert len(first) >= len(answered) - 1


def test_a_revision_goes_where_its_prompt_belongs(gathered):
    """A later revision with another prompt is held out, or trained on, as that one says; an earlier one moves nothing."""
    apart = next(f"p{n}" for n in range(100) if is_held_out(f"p{n}", SHARE, "seed"))
    taken = next(f"p{n}" for n in range(100) if not is_held_out(f"p{n}", SHARE, "seed"))
    for revision, prompt_hash, counts in ((1, taken, (1, 0)), (2, apart, (0, 1)), (1, taken, (0, 1)), (3, taken, (1, 0))):
        gathered.accept("a", revision, prompt_hash)
        assert gathered.counts(SHARE) == counts


def test_what_is_not_kept_is_forgotten_whole(tmp_path):
    """Rows and position are written at once: whoever dies in between finds the table as it was kept last."""
    path = tmp_path / "table.sqlite"
    with Gathered(path, "") as table:
        table.accept("a", 0, "prompt")
        table.keep(position="one")
        table.accept("b", 0, "prompt")
        table.retract("a", 0)
    with Gathered(path, "") as table:
        assert (ids(table.trained(0)), table.fact("position"), table.fact("other")) == (["a"], "one", "")

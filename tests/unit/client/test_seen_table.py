"""What was seen stays listed, with what became of it."""

from headrace.client.seen_table import Seen, SeenTable


def test_what_was_seen_is_listed_with_what_became_of_it(tmp_path):
    """Taken back, replaced by a revision that was seen too, or by one that was not; a higher rule covers lower revisions."""
    with SeenTable(tmp_path / "seen.sqlite", "seed") as table:
        for sample_id, revision in (("kept", 0), ("gone", 1), ("revised", 0), ("revised", 1), ("back", 2)):
            table.accept(sample_id, revision, "9f" * 32)
        table.know("gone", retracted=4)
        table.know("revised", latest=3)
        table.know("back", retracted=1)
        table.know("unseen", latest=1)
        rows = sorted(table.trained(0.0))
    assert rows == [
        Seen("back", 2),
        Seen("gone", 1, "retracted since"),
        Seen("kept", 0),
        Seen("revised", 0, "revision 0 of 3"),
        Seen("revised", 1, "revision 1 of 3"),
    ]


def test_prompts_that_were_held_out_are_told_apart(tmp_path):
    """By the same draw as everywhere."""
    with SeenTable(tmp_path / "seen.sqlite", "seed") as table:
        for number in range(40):
            table.accept(f"s{number}", 0, f"{number:064x}")
        trained, held_out = list(table.trained(0.5)), list(table.held_out(0.5))
    assert trained
    assert held_out
    assert len({*trained, *held_out}) == 40

"""The closing tables say what happened."""

from headrace.demo.report import auroc


def test_auroc_of_a_perfect_order_is_one_and_of_its_reverse_zero():
    """A score that puts every right answer above every wrong one has area 1; the reverse has 0."""
    assert auroc([3, 2, 1, 0], [True, True, False, False]) == 1.0
    assert auroc([0, 1, 2, 3], [True, True, False, False]) == 0.0


def test_ties_count_half():
    """A constant score is chance."""
    assert auroc([1, 1, 1], [True, False, True]) == 0.5


def test_without_both_kinds_there_is_no_figure():
    """One kind alone cannot be separated from anything."""
    assert auroc([1, 2], [True, True]) is None

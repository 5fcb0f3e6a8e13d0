"""What the authors' merge knows a sample by."""

from headrace.core.rounds.merge_keys import merge_key_of_sample
from headrace.core.rounds.signal_rows import merge_key_of
from headrace.core.samples import Message, Sample


def key(*messages: Message) -> str:
    return merge_key_of_sample(Sample("d", "s", 0, "", messages))


def test_rows_with_the_same_instruction_and_output_are_one() -> None:
    """System turns make no difference; another question or another answer does."""
    asked, answered = Message("user", "Two and two?"), Message("assistant", "Four.")
    assert key(asked, answered) == merge_key_of("Two and two?", "Four.")
    assert key(Message("system", "Be brief."), asked, answered) == key(asked, answered)
    assert key(asked, Message("assistant", "Five.")) != key(asked, answered)
    assert key(Message("user", "Two?"), answered) != key(asked, answered)


def test_of_several_turns_the_first_question_and_the_last_answer_count() -> None:
    """A sample without either has a key too."""
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
    assert key(*turns) == merge_key_of("a", "d")
    assert key(Message("system", "x")) == merge_key_of("", "")

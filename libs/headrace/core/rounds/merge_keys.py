"""What the authors' merge knows a row by, of a sample in chat form."""

from headrace.core.rounds.signal_rows import merge_key_of
from headrace.core.samples import Sample, response_text


def merge_key_of_sample(sample: Sample) -> str:
    """SHA-256 of its first user turn and its response: system turns and what else surrounds them do not count.

    A conversation of several turns is told from others by the first, as an instruction is in the authors' single-turn rows.
    """
    asked = next((message.content for message in sample.messages if message.role == "user"), "")
    return merge_key_of(asked, response_text(sample))

"""What a model wrote is used as it is, or refused with words that it can act upon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.chat_answers import Unreadable
from headrace.core.rounds.rewritten_text import AnswerReader, PromptReader, scripts_of
from tests.fakes.rewrites import NEW_QUESTION, QUESTION, RESPONSE

LATIN = frozenset({"LATIN"})
READER = PromptReader("data-0123", LATIN, 1_000, known=(QUESTION,), answers=(RESPONSE, "40"), before=QUESTION)
ANSWERS = AnswerReader(QUESTION, LATIN, 1_000)
RUSSIAN = "Сколько миль поезд проходит за один час, если за полтора часа он проходит шестьдесят?"


def marked(text: str) -> str:
    return f"<new_prompt>{text}</new_prompt>"


@pytest.mark.parametrize(
    "text",
    [
        marked(NEW_QUESTION),
        f"1. It is long.\n2. I shall cut it.\n\n<new_prompt>\n{NEW_QUESTION}\n\n</new_prompt>\n",
        f"<think>Between <new_prompt> and </new_prompt>, they say.</think>\n{marked(NEW_QUESTION)}",
        f"A first draft: {marked('Too short?')} and the final one: {marked(NEW_QUESTION)}",
        f"{marked(NEW_QUESTION)}\nAs you asked, it stands between <new_prompt> and </new_prompt>.",
    ],
)
def test_the_last_block_is_the_prompt(text):
    """Thoughts, drafts and talk around it are left out."""
    assert READER(text) == NEW_QUESTION


PLAIN = PromptReader("", LATIN, 1_000, known=(QUESTION,), answers=(RESPONSE,), before=QUESTION)


@pytest.mark.parametrize(
    "text", ["{}", " \n{}\n", '"{}"', "\u201c{}\u201d", "Task: {}", "New prompt:\n{}", '<think>Hm.</think>"{}"']
)
def test_without_marks_the_reply_is_the_prompt(text):
    """Less the label and the quotation marks around it."""
    assert PLAIN(text.format(NEW_QUESTION)) == NEW_QUESTION


@pytest.mark.parametrize("text", ["", '""', "Task:", QUESTION, f"Question: {QUESTION}", f"{NEW_QUESTION} {RESPONSE}", RUSSIAN])
def test_without_marks_the_same_is_refused(text):
    """Nothing, the prompt itself, the answer given away, another language."""
    with pytest.raises(Unreadable):
        PLAIN(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "does not stand between"),
        ("asdf qwer 1234 {]", "does not stand between"),
        ('{"new_prompt": "How many miles', "does not stand between"),
        (NEW_QUESTION, "does not stand between"),
        (f"<new_prompt>{NEW_QUESTION}", "does not stand between"),
        (f"{marked(NEW_QUESTION)} Or better: <new_prompt> How", "does not stand between"),
        ("Put it between <new_prompt> and </new_prompt>.", "does not stand between"),
        (marked("\n...\n"), "does not stand between"),
        (marked(" ?! "), "is empty"),
        (marked("x" * 1_001), "write 1000 at most"),
        (marked(f"{NEW_QUESTION}\x1b[2J"), "control characters"),
        (marked(RUSSIAN), "another language"),
        (marked(QUESTION), "word for word"),
        (marked(f"  {QUESTION.upper()} "), "word for word"),
        (f"The prompt:\n[data-0123]\n{QUESTION}\n[/data-0123]\n{marked(NEW_QUESTION)}", "repeats the material"),
        (marked(f"{NEW_QUESTION} Hint: {RESPONSE}"), "gives its answer away"),
        ("<think>Let me see, a train", "in the middle of its thoughts"),
    ],
)
def test_a_reply_that_is_no_prompt_is_refused(text, told):
    """Rubbish, truncated JSON, another language, the prompt itself, the whole material, an endless text: each is told why."""
    with pytest.raises(Unreadable, match=told):
        READER(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" \n ", "is empty"), ("...", "is empty"), ("x" * 1_001, "write 1000 at most"),
        (QUESTION.lower(), "repeats the question"), (RUSSIAN, "another language"), ("<think>Hm", "thoughts"),
        ("40\x00", "control characters"),
    ],
)  # fmt: skip
def test_a_reply_that_is_no_answer_is_refused(text, told):
    """As for prompts, less the marks."""
    with pytest.raises(Unreadable, match=told):
        ANSWERS(text)


def test_an_answer_is_taken_without_the_thoughts_before_it():
    """Formulas and short answers have no language that could be the wrong one."""
    assert ANSWERS("<think>Well.</think>\n\n42") == "42"
    assert ANSWERS("β = δ / π") == "β = δ / π"


def test_scripts_are_those_of_a_good_part_of_the_letters():
    """One foreign word makes no language; few letters tell nothing; what is written in one mixture of scripts counts as one."""
    assert scripts_of([QUESTION * 5, "π"]) == {"LATIN"}
    assert scripts_of(["x = 2"]) == frozenset()
    assert scripts_of(["これは日本語で書かれた長い文章です。カタカナも。"]) == {"CJK"}
    assert PromptReader("f", frozenset(), 100)(marked(RUSSIAN)) == RUSSIAN


@given(st.text(max_size=200), st.lists(st.sampled_from(["<new_prompt>", "</new_prompt>", "<think>", "</think>"]), max_size=6))
def test_whatever_comes_is_read_or_refused(text, marks):
    """No text breaks a reader, and what passes is some text."""
    for reader in (READER, ANSWERS):
        try:
            found = reader(text.join(marks))
        except Unreadable:
            continue
        assert found.strip() == found
        assert found


def test_a_hostile_reply_is_read_in_no_time():
    """As large a text as an endpoint may send, full of marks."""
    for piece in ("<new_prompt>", "</new_prompt>", "<new_prompt></new_prompt>", "</think>", "a "):
        with pytest.raises(Unreadable):
            READER(piece * (262_144 // len(piece)))

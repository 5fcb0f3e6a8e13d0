"""What is objected to in a text that a model wrote: refusals, loops, other languages, and what is let pass."""

import pytest

from headrace.core.chat_answers import Unreadable
from headrace.core.rounds.objections import Objections, language_of, loop_ratio, refuses
from headrace.core.rounds.rewriting import RewritingLimits, task_for
from services.refinement.recipes import read_recipes
from services.refinement.settings import RefinementSettings
from tests.fakes.rewrites import NEW_QUESTION, NEW_RESPONSE, QUESTION, RESPONSE, parent, rewrite

OBJECTIONS = Objections((QUESTION, RESPONSE))
GERMAN = "Man teilt die Meilen durch die Stunden: 60 / 1,5 = 40. Der Zug legt also in einer Stunde 40 Meilen zurück."
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I can\u2019t assist with that request.",
    "Sorry, I am unable to answer this.",
    "I won't be able to help you here.",
    "As an AI language model, I have no access to trains.",
    "Das tut mir leid, ich kann Ihnen dabei leider nicht helfen.",
    "Je ne peux pas vous aider.",
    "Lo siento, no puedo ayudar con eso.",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_objected_to(text):
    """In the usual words of four languages; the model is told to write what was asked for."""
    assert refuses(text)
    with pytest.raises(Unreadable, match="refuses"):
        OBJECTIONS.require_none(text)
    Objections((QUESTION, "I cannot answer that.", text)).require_none(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't believe it: 40 miles!",
        "I'm sorry, but that is wrong: it goes 40 miles.",
        "I cannot help but notice that 60 / 1.5 is 40.",
        "The train cannot help being late.",
        "x" * 400 + " I cannot help you.",
    ],
)
def test_what_only_sounds_like_a_refusal_passes(text):
    """Nobody says in the first person, at the beginning, that the thing asked for is not done."""
    assert not refuses(text)


@pytest.mark.parametrize(
    "text", ["a " * 200, NEW_RESPONSE + "The train goes on. " * 100, "ha" * 200, "\u56db\u5341\u3002" * 200, "40\n" * 300]
)
def test_loops_are_objected_to(text):
    """Whatever is repeated, and whatever stands before it."""
    with pytest.raises(Unreadable, match="repeats itself"):
        OBJECTIONS.require_none(text)
    Objections((QUESTION, RESPONSE), loop_ratio_max=1_000).require_none(text)


def test_tables_and_lists_are_no_loops():
    """Lines may look alike; short texts say nothing."""
    lines = [f"| {number} | {number % 7} |" for number in range(300)]
    table = "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 13) for b in range(1, 13))
    for text in ("\n".join(lines), table, ", ".join(map(str, range(500))), "na " * 16 + "Batman!"):
        OBJECTIONS.require_none(text)
    assert loop_ratio("a" * 199) == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (NEW_RESPONSE, "English"),
        (GERMAN, "German"),
        ("Quelle est la distance que le train parcourt dans une heure, et pourquoi ?", "French"),
        ("El tren recorre las millas en una hora y media, por lo que la velocidad es de 40.", "Spanish"),
        ("Qual \u00e8 la distanza che il treno percorre? Le miglia non sono date per le ore.", "Italian"),
        ("Qual \u00e9 a dist\u00e2ncia que o trem percorre em uma hora, e n\u00e3o em duas? As milhas s\u00e3o", "Portuguese"),
        ("Wat is de afstand die het rijdt in een uur, en hoe lang duurt het van hier naar huis?", "Dutch"),
        ("60 / 1.5 = 40", ""), ("def miles(hours): return 60 / hours", ""), ("Mercury, Venus, Earth, Mars, Jupiter, Saturn", ""),
    ],
)  # fmt: skip
def test_languages_are_told_by_their_commonest_words(text, language):
    """Or not told at all."""
    assert language_of(text) == language


def test_another_language_is_objected_to_unless_it_was_asked_for():
    """A German answer to an English prompt; a translation is one by its prompt, and a parent in German writes German."""
    with pytest.raises(Unreadable, match="written in German, the material in English"):
        OBJECTIONS.require_none(GERMAN, NEW_QUESTION)
    OBJECTIONS.require_none(GERMAN, "Say it in German, please: the train goes 40 miles in one hour.")
    Objections((QUESTION, GERMAN)).require_none(GERMAN, NEW_QUESTION)
    Objections(("60 / 1.5", "40")).require_none(GERMAN)


@pytest.mark.parametrize("text", ["I'm sorry, but I can't help with that.", "a " * 200, GERMAN])
def test_prompts_and_answers_of_a_round_are_held_to_it(text):
    """The reader of either says what is wrong; in mode middo_compat nobody does, as with the authors."""
    recipes = read_recipes(RefinementSettings().style)
    task = task_for(rewrite(parent=parent()), recipes, RewritingLimits(), prompt_alone=False)
    compat = task_for(rewrite(parent=parent()), recipes, RewritingLimits(), prompt_alone=True)
    for is_held, each in ((True, task), (False, compat)):
        _, prompts = each.refining_call(RefinementSettings().refining())
        _, answers = each.answering_call(NEW_QUESTION, RefinementSettings().answering())
        for read, reply in ((prompts, f"<new_prompt>{text}</new_prompt>"), (answers, text)):
            if is_held:
                with pytest.raises(Unreadable):
                    read(reply)
            else:
                assert read(reply) == text.strip()

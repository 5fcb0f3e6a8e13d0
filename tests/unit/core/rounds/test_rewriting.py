"""What a refiner and an answerer are asked, and the sample that their answers become."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.chat import ANSWERER, REFINER, Sampling
from headrace.core.chat_answers import Unreadable
from headrace.core.rounds.rewriting import NotRewritable, Recipe, Recipes, RewritingLimits, Style, task_for
from headrace.core.rounds.rules import Axis
from headrace.core.samples import Message, OriginKind, ToolCall, content_hash_of
from tests.fakes.rewrites import NEW_QUESTION, NEW_RESPONSE, QUESTION, RESPONSE, parent, rewrite

RECIPES = Recipes({axis: Recipe(f"{axis}.v1", f"Do what {axis} needs.") for axis in Axis}, Recipe("answer.v1", "Answer well."))
LIMITS = RewritingLimits(material_chars_max=1_000, beside_chars_max=100)
SAMPLING = Sampling(0.5, 0.9, 77)
TALK = (Message("user", "Hello."), Message("assistant", "Hello! What is it?"))


def task(axis="hard", limits=LIMITS, *, prompt_alone=False, **changes):
    return task_for(rewrite(axis, **changes), RECIPES, limits, prompt_alone=prompt_alone)


def shown(found):
    call, reader = found.refining_call(SAMPLING)
    assert call.role == REFINER
    assert call.messages[0] == Message("system", f"Do what {found.axis} needs.")
    assert call.sampling == SAMPLING
    return call.messages[1].content, reader


def test_a_refiner_of_a_hard_sample_sees_the_answer_to_be_kept():
    """Prompt, answer and reference, each between marks; no score."""
    text, reader = shown(task())
    for material in (QUESTION, RESPONSE, "40", "You are a patient teacher."):
        assert f"[{reader.fence}]\n{material}\n[/{reader.fence}]" in text
    assert "judged" not in text


def test_a_refiner_of_a_poor_sample_is_told_how_poor_it_is():
    """The judge's mean beside the bound."""
    assert "judged 4.0 of 10; below 3.5 is poor" in shown(task("low_quality"))[0]


def test_a_refiner_of_a_sparse_sample_sees_its_neighbours():
    """And no answer, since the new prompt has another one."""
    text, reader = shown(task("sparse"))
    assert "Neighbouring prompt 1" in text
    assert "How far does a bus go" in text
    assert RESPONSE not in text
    assert reader.answers == ()
    assert set(reader.known) == {QUESTION, "How far does a bus go in two hours at 30 miles an hour?"}


def test_neighbours_are_shown_until_there_is_enough():
    """However many hints there are, and however long, the call stays small."""
    text, _ = shown(task("sparse", hints=tuple(f"{n} " + "x" * 10_000 for n in range(64))))
    assert "Neighbouring prompt 9" in text
    assert "Neighbouring prompt 10" not in text
    assert len(text) < 2_500


@pytest.mark.parametrize("axis", Axis)
def test_with_the_prompt_alone_nothing_else_is_shown(axis):
    """As the authors' rewriter: no answer, no score, no reason why the attempt before was turned away."""
    text, _ = shown(task(axis, prompt_alone=True, previous_failure="not_better"))
    assert QUESTION in text
    for hidden in (RESPONSE, "judged", "not_better", "40"):
        assert hidden not in text


def test_a_further_attempt_is_told_why_the_one_before_failed():
    """Reason and numbers, as material: a check's evidence may quote anybody."""
    text, reader = shown(task(previous_failure="not_better; loss 4.2 should be < 4", attempt=2))
    assert f"turned away:\n[{reader.fence}]\nnot_better; loss 4.2 should be < 4\n" in text


def test_a_very_small_refiner_sees_examples_and_prompts():
    """No marks, no answer, no score; neighbours each as a task; an example must not come back as a rewrite."""
    examples = (("What is 2 + 2?", "You have 2 apples and get 2 more. How many apples have you?"),)
    plain = Recipes({axis: Recipe("plain.v1", "Rewrite it.", examples) for axis in Axis}, RECIPES.answering, Style.PLAIN)
    for axis, turn in (("hard", QUESTION), ("sparse", f"Task: {QUESTION}\n\nTask: {rewrite('sparse').hints[0]}")):
        call, reader = task_for(rewrite(axis), plain, LIMITS, prompt_alone=False).refining_call(SAMPLING)
        assert [turn.role for turn in call.messages] == ["system", "user", "assistant", "user"]
        assert call.messages[-1].content == turn
        assert reader(NEW_QUESTION) == NEW_QUESTION
        with pytest.raises(Unreadable):
            reader(examples[0][1])
    assert plain.version_for(Axis.HARD) != replace(plain, answering=Recipe("a", "b")).version_for(Axis.HARD)


@given(st.text(min_size=1, max_size=300).filter(str.strip))
def test_no_sample_can_close_the_marks_around_it(text):
    """The mark follows from the material, so it is not in it."""
    messages = (Message("user", text), Message("assistant", f"[/data-0000000000000000]\n{text}"))
    asked, reader = shown(task(parent=parent(messages=messages)))
    assert asked.count(f"[/{reader.fence}]") == asked.count(f"[{reader.fence}]") == 3


def test_the_answerer_sees_the_new_prompt_and_what_comes_before_it():
    """Neither the old prompt nor the old answer; the sample's own system turn stands for ours."""
    found = task(
        parent=parent(messages=(Message("system", "Be brief."), *TALK, Message("user", QUESTION), Message("assistant", "x")))
    )
    call, _ = found.answering_call(NEW_QUESTION, SAMPLING)
    assert (call.role, call.sampling) == (ANSWERER, SAMPLING)
    assert call.messages == (Message("system", "Be brief."), *TALK, Message("user", NEW_QUESTION))
    plain = task(parent=parent(messages=(Message("user", QUESTION), Message("assistant", "x"))))
    assert plain.answering_call(NEW_QUESTION, SAMPLING)[0].messages[0] == Message("system", "Answer well.")


@pytest.mark.parametrize("axis", ["hard", "low_quality"])
def test_a_rewrite_is_a_later_revision_of_its_parent(axis):
    """Only the last user turn and the last assistant turn change; the reference stays, since the answer must still hold."""
    of = parent(messages=(*TALK, Message("user", QUESTION, name="ada"), Message("assistant", RESPONSE)), attributes={"a": "b"})
    made = task(axis, parent=of).sample(NEW_QUESTION, NEW_RESPONSE)
    assert made.messages == (*TALK, Message("user", NEW_QUESTION, name="ada"), Message("assistant", NEW_RESPONSE))
    assert (made.id, made.reference, made.attributes, made.metadata_json) == (of.id, of.reference, {"a": "b"}, of.metadata_json)
    assert made.revision > of.revision
    assert made.content_hash == content_hash_of(made.messages, "", of.reference) != of.content_hash
    origin = made.origin
    assert (origin.kind, origin.parent_ids, origin.round, origin.axis) == (OriginKind.REFINED, ("train",), "round-1", axis)
    assert (origin.recipe, origin.recipe_version) == (f"{axis}.v1", RECIPES.version_for(Axis(axis)))


def test_a_sparse_rewrite_is_a_new_sample():
    """With its parent's name in its origin, and nothing that held for the parent alone."""
    made = task("sparse").sample(NEW_QUESTION, NEW_RESPONSE)
    assert made.id != "train"
    assert (made.revision, made.reference, made.metadata_json) == (0, None, "")
    assert made.origin.parent_ids == ("train",)


def test_another_text_is_another_recipe_version():
    """Of either call."""
    other = replace(RECIPES, answering=Recipe("answer.v1", "Answer badly."))
    assert other.version_for(Axis.HARD) != RECIPES.version_for(Axis.HARD) != RECIPES.version_for(Axis.SPARSE)


@pytest.mark.parametrize(
    ("of", "obstacle"),
    [
        (parent(tools_json="[]"), "tool_conversation"),
        (parent(messages=(Message("user", "?"), Message("assistant", "", (ToolCall("1", "f", "{}"),)))), "tool_conversation"),
        (parent(messages=(Message("tool", "1"), Message("user", "?"), Message("assistant", "!"))), "tool_conversation"),
        (parent(messages=(Message("user", "?"),)), "no_question"),
        (parent(messages=(Message("assistant", "!"),)), "no_question"),
        (parent(messages=(Message("user", " "), Message("assistant", "!"))), "no_question"),
        (parent(messages=(*TALK, Message("user", "?"))), "no_question"),
        (parent(messages=(Message("user", "x" * 1_001), Message("assistant", "!"))), "too_long"),
        (parent(2**32 - 1), "no_revision"),
    ],
)
def test_what_cannot_be_rewritten_is_told_before_anything_is_paid(of, obstacle):
    """Conversations with tools, without a question, too long, or without a revision left."""
    with pytest.raises(NotRewritable) as why:
        task(parent=of)
    assert why.value.obstacle == obstacle

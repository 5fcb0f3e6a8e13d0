"""`headrace policy` without a broker: what a person sees of a good and of a bad file."""

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.main import app
from headrace.cli.policy import standing_told
from headrace.core.policies import Policy
from headrace.core.rounds.standing import StandingThresholds

BAD = "signals:\n  loss_mx: 3\nchecks:\n- check: mth\n"


@pytest.fixture
def run():
    """Runs the command in this process."""
    return lambda *arguments, text=None: CliRunner().invoke(app, ["policy", *arguments], input=text)


def test_starter_policy_can_be_validated(run):
    """`init | validate` is the first thing a newcomer does."""
    starter = run("init")
    assert starter.exit_code == 0
    found = run("validate", "-f", "-", text=starter.stdout)
    assert (found.exit_code, found.stdout[:21]) == (0, "-: a policy, version ")


def test_every_problem_is_printed_with_its_line(run, tmp_path):
    """The exit code says no, standard error says why."""
    file = tmp_path / "policy.yaml"
    file.write_text(BAD)
    found = run("validate", "--file", str(file))
    assert found.exit_code == 1
    assert f"{file}: line 2: signals.loss_mx: unknown key 'loss_mx'; did you mean 'loss_max'?" in found.stderr
    assert f"{file}: line 4: checks[0].check: unknown check 'mth'; did you mean 'math'?" in found.stderr


def test_scripts_read_problems_as_json(run):
    """One object, with the version of a good policy and the problems of a bad one."""
    found = run("validate", "-f", "-", "--json", text=BAD)
    assert found.exit_code == 1
    assert [(p["path"], p["line"]) for p in json.loads(found.stdout)["problems"]] == [
        ("signals.loss_mx", 2),
        ("checks[0].check", 4),
    ]
    good = json.loads(run("validate", "-f", "-", "--json", text="description: good").stdout)
    assert len(good["version"]) == 12
    assert good["problems"] == []


def test_a_scale_that_the_mode_does_not_hold_is_warned_of(run):
    """The authors' merge evicts nobody."""
    found = run("validate", "-f", "-", text="rounds: {mode: middo_compat, scale: held}")
    assert (found.exit_code, "rounds.scale" in found.stderr) == (0, True)
    assert run("validate", "-f", "-", text="rounds: {mode: middo_compat}").stderr == ""


def test_a_second_opinion_that_the_mode_does_not_follow_is_warned_of(run):
    """It costs two calls for each rewrite all the same."""
    for mode, warned in (("middo_compat", True), ("headrace", False)):
        found = run("validate", "-f", "-", text=f"rounds: {{mode: {mode}, judge_rewrites: endpoint}}")
        assert (found.exit_code, "rounds.judge_rewrites" in found.stderr) == (0, warned)


def test_missing_file_is_one_line(run):
    """No traceback."""
    found = run("validate", "-f", "/no/such/file")
    assert (found.exit_code, found.stderr) == (1, "error: /no/such/file: No such file or directory\n")


def test_checks_are_listed_with_their_settings(run):
    """What can be asked for, and how it can be told."""
    assert "copies_max" in run("checks").stdout
    listed = {row["check"]: row for row in json.loads(run("checks", "--json").stdout)}
    assert listed["math"]["settings"]["properties"]["cpu_s_max"]["default"] == 3.0


def test_schema_is_printed(run):
    """Editors complete policies with it."""
    assert "check_math" in json.loads(run("schema").stdout)["$defs"]


def test_standing_thresholds_are_told_in_words():
    """Whom they hold, where they come from, and how a bound follows from mean and deviation; nothing where they are off."""
    assert list(standing_told(Policy())) == list(standing_told(None)) == []
    on = Policy.model_validate({"standing": {"rows": 500, "low_quality": True}})
    assert "on loss and quality: none yet" in " ".join(standing_told(on))
    assert "as soon as 500 samples are scored by" in " ".join(standing_told(on))
    found = StandingThresholds(
        model="smol\nrows: 9", model_version="3", rows=500, source="round r1",
        loss_max=3.5, loss_mean=2.5, loss_std=0.5, loss_m=2.0,
    )  # fmt: skip
    assert list(standing_told(on.with_thresholds(found))) == [
        "standing thresholds on loss and quality, for samples that smol\\nrows: 9 version 3 measures (round r1, 500 rows):",
        "  loss at most 3.5 (mean 2.5 + 2 deviations of 0.5)",
        "  quality as it is: there was no bound to be had",
    ]

"""Which endpoint answers in which role."""

import pytest
from pydantic import ValidationError

from headrace.adapters.chat.settings import ChatSettings, endpoint_of
from headrace.runtime.settings import setting_problems


@pytest.fixture(autouse=True)
def _default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_CHAT_URL", "https://models.example/v1/")
    monkeypatch.setenv("HEADRACE_CHAT_MODEL", "large")
    monkeypatch.setenv("HEADRACE_CHAT_API_KEY", "secret")
    monkeypatch.setenv("HEADRACE_CHAT_CONCURRENCY", "3")
    monkeypatch.setenv("HEADRACE_CHAT_PROMPT_PRICE", "2.5")


def test_a_role_without_settings_has_the_default_s():
    """All of them, and the same endpoint as any other such role."""
    settings = endpoint_of("refiner")
    assert settings == endpoint_of("answerer") == ChatSettings()
    assert (settings.url, settings.model, settings.concurrency) == ("https://models.example/v1", "large", 3)


def test_a_role_s_own_settings_go_before(monkeypatch):
    """What it does not set is the default's; an empty variable sets nothing."""
    monkeypatch.setenv("HEADRACE_CHAT_ANSWERER_MODEL", "small")
    monkeypatch.setenv("HEADRACE_CHAT_ANSWERER_CONCURRENCY", "")
    settings = endpoint_of("answerer")
    assert (settings.url, settings.model, settings.concurrency) == ("https://models.example/v1", "small", 3)
    assert settings.api_key.get_secret_value() == "secret"


def test_a_key_is_never_sent_to_another_address(monkeypatch):
    """Nor are the default's model and prices taken for another server's."""
    monkeypatch.setenv("HEADRACE_CHAT_JUDGE_URL", "http://127.0.0.1:8080/v1")
    settings = endpoint_of("judge")
    assert settings.api_key.get_secret_value() == ""
    assert (settings.model, settings.prompt_price, settings.concurrency) == ("default", None, 3)


def test_a_wrong_setting_is_named_with_its_role(monkeypatch):
    """The line that a person reads says what to change."""
    monkeypatch.setenv("HEADRACE_CHAT_JUDGE_RETRIES", "-1")
    with pytest.raises(ValidationError) as wrong:
        endpoint_of("judge")
    assert setting_problems(wrong.value) == "HEADRACE_CHAT_JUDGE_RETRIES: Input should be greater than or equal to 0"


@pytest.mark.parametrize(
    "url", ["models.example/v1", "ftp://models.example", "http://user:key@models.example/v1", "http://a/v1?key=1"]
)
def test_an_address_is_plain_http(url, monkeypatch):
    """Keys have a setting of their own, which is not shown."""
    monkeypatch.setenv("HEADRACE_CHAT_URL", url)
    with pytest.raises(ValidationError, match="http or https"):
        ChatSettings()


@pytest.mark.parametrize("role", ["", "Judge", "a-b", "_a", "a__b", "ü"])
def test_a_role_is_part_of_a_setting_s_name(role):
    """Others are refused."""
    with pytest.raises(ValueError, match="lower-case"):
        endpoint_of(role)


def test_keys_are_not_shown():
    """Not in logs, not in errors."""
    assert "secret" not in repr(endpoint_of("refiner"))

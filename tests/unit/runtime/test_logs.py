import json
import logging

import pytest

from headrace.runtime.logs import JsonFormatter, TextFormatter, configure_logging
from headrace.runtime.telemetry import CURRENT_TRACE


@pytest.fixture
def _trace():
    token = CURRENT_TRACE.set(("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
    yield
    CURRENT_TRACE.reset(token)


def record(message: str, *arguments, **extra) -> logging.LogRecord:
    told = {"name": "headrace.delivery", "msg": message, "args": arguments, "levelno": 30, "levelname": "WARNING"}
    return logging.makeLogRecord({**told, **extra})


@pytest.mark.usefixtures("_trace")
def test_a_json_line_tells_service_trace_and_fields():
    """A collector finds time, level, service, logger, message, trace and extra fields, each under its name."""
    line = json.loads(JsonFormatter("scoring").format(record("read %d", 3, partition=7)))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "service": "scoring", "logger": "headrace.delivery", "message": "read 3", "partition": 7,
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
    }  # fmt: skip


def test_a_json_line_is_one_line_whatever_a_message_holds():
    """Newlines, control characters and lone surrogates of a sample cannot forge or break a line; odd fields become text."""
    text = JsonFormatter("scoring").format(record("a\nb\x1b[31m\ud800", thing={1}))
    assert "\n" not in text
    assert "\x1b" not in text
    assert json.loads(text)["message"] == "a\nb\x1b[31m\ud800"
    text.encode()


def test_an_exception_is_told_with_its_trace_back():
    """Errors keep where they came from."""
    try:
        int("bad")
    except ValueError as error:
        made = record("failed", exc_info=(ValueError, error, error.__traceback__))
    assert "ValueError: invalid literal" in json.loads(JsonFormatter("scoring").format(made))["error"]
    assert "ValueError: invalid literal" in TextFormatter("scoring").format(made)


@pytest.mark.usefixtures("_trace")
def test_a_text_line_is_for_a_person_and_a_terminal():
    """It names service, logger and trace, and no control character of a message reaches the terminal."""
    text = TextFormatter("50%").format(record("hello \x1b[31m"))
    assert "WARNING 50% headrace.delivery: hello ?[31m [trace 0af76519]" in text


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False), ("auto", True)])
def test_the_format_is_chosen_by_setting(log_format, is_json, capsys):
    """`auto` is JSON where standard error is no terminal; libraries that talk much are kept to warnings."""
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure_logging("scoring", log_format)
        logging.getLogger("headrace.test").info("hello")
        logging.getLogger("aiokafka.consumer").info("chatter")
        lines = capsys.readouterr().err.splitlines()
    finally:
        logging.getLogger().handlers[:], logging.getLogger().level = before
    assert len(lines) == 1
    assert lines[0].startswith("{") == is_json

"""Structured logs: one line per record, as JSON or as text, with the service's name and the trace in hand."""

import json
import logging
import sys
from datetime import UTC, datetime

from headrace.runtime.telemetry import CURRENT_TRACE

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = {code: "?" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\t\n"}
_NOISY = ("aiokafka", "faststream", "kafka", "urllib3")


def configure_logging(service: str, log_format: str = "auto") -> None:
    """Send all logs to standard error: `json`, `text`, or `auto` (text on a terminal, else JSON).

    Replaces what was configured before. Fields given by `extra=` become fields of the JSON line.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(service) if as_text else JsonFormatter(service))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object per line; what is no JSON value is written as its text."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = CURRENT_TRACE.get()
        if trace is not None:
            line["trace_id"], line["span_id"] = trace
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For a person: time, level, service, logger, message, and the trace's first digits where there is one."""

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {service.replace('%', '%%')} %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).translate(_CONTROL)  # a sample's text must not drive the terminal
        trace = CURRENT_TRACE.get()
        return text if trace is None else f"{text} [trace {trace[0][:8]}]"

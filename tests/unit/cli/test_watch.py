"""What `headrace watch` prints where there is no terminal."""

import json

from headrace.cli.watch import _line
from headrace.core.ledger import Account

ACCOUNT = Account(submitted=7, accepted=3, rejected=1, dead_lettered=1, in_flight=2, reasons={"truncated": 1})


def test_a_look_is_one_line_of_text():
    """The numbers of the account, and queues that are behind; what should be 0 only when it is not."""
    line = _line(ACCOUNT, {"sample.scored diversity": 2, "ingest gateway": 0}, as_json=False)
    assert line == "submitted 7, accepted 3, rejected 1, dead lettered 1, in flight 2, sample.scored diversity 2 behind"
    assert "decided again 1" in _line(Account(submitted=1, accepted=2, decided_again=1), {}, as_json=False)


def test_a_look_is_one_line_of_json():
    """The account as `headrace account --json` has it, and every queue."""
    told = json.loads(_line(ACCOUNT, {"ingest gateway": 0}, as_json=True))
    assert (told["in_flight"], told["reasons"], told["decided_again"]) == (2, {"truncated": 1}, 0)
    assert told["behind"] == {"ingest gateway": 0}

"""Starts a broker, behind its old session where it was killed: `... killed_broker LOG_FOLDER END... -- BROKER...`, two commands.

A broker that was killed and is back while its old session lives takes up what it led by metadata of then. Kafka 4.3.1 cannot bear
that. As one of several it goes on with transactions that no other broker knows to have been decided: it commits in some
partitions what whoever leads next aborts in others, so records are lost. If it is alone, its own controller ends that session in
the middle of it: a transaction that ends while its partitions have no leader is said to be complete, and its markers are never
written (KAFKA-20734: it takes the partitions for deleted ones); and a group's coordinator that reads its offsets meanwhile may
find none; either way what was committed is done again. So the old session is ended first: by the controller of a lone broker,
which runs by itself until it has done that; by the others, who are given their time for it.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from headrace.local.launch import tethered

LOGGERS = """\
logger.sessions.name = org.apache.kafka.controller.ReplicationControlManager
logger.sessions.level = info
logger.loader.name = org.apache.kafka.image.loader.MetadataLoader
logger.loader.level = debug
"""
"""What a controller has to log for its progress to be seen here, as lines of log4j's configuration."""

_ACTIVE = "Performing controller activation"
_ENDED = "Fencing broker"
_COMMITTED = "publishing new image"
_COMMITS = 3
"""So many commits behind the line that tells of a session's end that end is committed, too: of what was written before it, one
commit may be told of later, hardly two."""
_SESSION_S = 5.0
"""A killed broker that has no session any more is not waited for longer: its session would have ended at once."""
_CONTROLLER_S = 60.0
"""A controller that has done nothing by then is given up; the broker is started all the same."""


def was_killed(log_folder: Path) -> bool:
    """Whether the broker whose logs these are ran before and did not end by itself."""
    return (log_folder / "__cluster_metadata-0").is_dir() and not (log_folder / ".kafka_cleanshutdown").exists()


def end_session(command: Sequence[str]) -> None:
    """Runs a controller until it has ended its broker's old session, and no longer than it takes to see that there is none.

    Or whatever else ends by itself once the session is over. What it warns of is passed on. Where it fails, the broker will, too,
    and say why.
    """
    with subprocess.Popen(  # noqa: S603  # the command is composed by the parts of this package
        tethered(tuple(command), signal.SIGKILL),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as controller:  # fmt: skip
        at_most = threading.Timer(_CONTROLLER_S, controller.kill)
        unless_it_ends = threading.Timer(_SESSION_S, controller.terminate)
        at_most.start()
        has_ended, commits = False, 0
        for line in controller.stdout or ():
            if _ACTIVE in line and unless_it_ends.ident is None:
                unless_it_ends.start()
            if _ENDED in line:
                unless_it_ends.cancel()
                has_ended = True
            commits += has_ended and _COMMITTED in line
            if commits == _COMMITS:
                controller.terminate()
            if " INFO " not in line and " DEBUG " not in line:
                sys.stdout.write(line)
        at_most.cancel()
        unless_it_ends.cancel()


def main() -> None:
    """Ends the old session where there may be one, then becomes the broker."""
    log_folder, *commands = sys.argv[1:]
    middle = commands.index("--")
    if was_killed(Path(log_folder)):
        end_session(commands[:middle])
        sys.stdout.flush()
    os.execvp(commands[middle + 1], commands[middle + 1 :])  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()

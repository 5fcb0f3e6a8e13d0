"""Ties a process to its parent: `tether.py PARENT_PID SIGNAL COMMAND...` becomes the command, signalled when the parent dies.

A program of its own rather than a hook between fork and exec, which is unsafe where the parent has threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel for the signal, then becomes the command."""
    parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the kernel knew our wish
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()

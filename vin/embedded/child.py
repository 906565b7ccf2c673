"""Becomes a server that ends with its parent; run by its path, as a program of its own.

It stands in for `preexec_fn`, which would run Python between the fork and the exec of a
process that may have threads. What it prints is the reason that the launcher tells.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def leave_root(libc: ctypes.CDLL) -> None:
    """Enter a user namespace, where root keeps its own files and none of its powers."""
    if os.geteuid() == 0 and libc.unshare(CLONE_NEWUSER):
        sys.exit(
            "error: PostgreSQL does not run as root and this system allows no user namespace"
            " in which it would not be: start as a normal user, or set DATABASE_URL"
        )


def main(parent: str, at_death: str, identity: str, *command: str) -> None:
    """Replace this process by `command`; the parent's death sends it the signal `at_death`."""
    libc = ctypes.CDLL(None)
    if identity == "leave-root":
        leave_root(libc)
    libc.prctl(PR_SET_PDEATHSIG, int(at_death))
    if os.getppid() != int(parent):
        sys.exit("error: the parent ended before its server began")
    os.umask(0o077)
    try:
        os.execv(command[0], command)  # noqa: S606 - the command is the launcher's own
    except OSError as error:
        sys.exit(f"error: cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Starts a command in a node for `docker exec`: without the rights that only the node's wiring needed, in a session
of its own, with an environment of its own. `enter.py [--keep-net-admin] MARK COMMAND [ARGUMENT …]`

Docker gives every exec the container's own capabilities; this gives NET_ADMIN and SETPCAP back before the command
runs. MARK stands in the environment, so that process 1 can end the whole session when its terminal is closed.
"""

from __future__ import annotations

import contextlib
import os
import sys

sys.path.insert(0, "/opt/lianbing")  # isolated mode leaves our own folder out
from rights import NET_ADMIN, SETPCAP, drop_rights

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what a shell answers


def main(argv: list[str]) -> int:
    keep = argv[:1] == ["--keep-net-admin"]
    mark, *command = argv[1:] if keep else argv
    drop_rights((SETPCAP,) if keep else (NET_ADMIN, SETPCAP))
    with contextlib.suppress(PermissionError):  # a terminal's process already leads its session
        os.setsid()
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "TERM": os.environ.get("TERM", "xterm-256color"),
        "LB_SESSION": mark,
        "PWD": "/root",  # the name of the folder, not the place its link leads to
    }
    os.chdir("/root")
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - a command is what this is for
    except FileNotFoundError:
        sys.stderr.write(f"{command[0]}: not found\n")
        return NOT_FOUND
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        return NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

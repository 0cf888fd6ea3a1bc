"""`python -m cyber_range.engine.agents <use>`: one node program on stdin and stdout (how Docker nodes start it).

The first line on stdin is {"node": name, "spec": {…}}; after it come commands. Every line on stdout is one
message. What libraries print goes to stderr, so that it can never be taken for a message.
"""

from __future__ import annotations

import json
import os
import sys

from cyber_range.engine.agents.runner import LINE_LIMIT, serve


def first_line(fd: int) -> bytes:
    """Reads up to the first newline and not one byte more: the rest belongs to the runner's own reader."""
    line = bytearray()
    while len(line) < LINE_LIMIT:
        byte = os.read(fd, 1)
        if byte in (b"", b"\n"):
            break
        line += byte
    return bytes(line)


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        sys.stderr.write(
            'usage: python -m cyber_range.engine.agents <program>  (first line: {"node": …, "spec": {…}})\n'
        )
        return 2
    try:
        start = json.loads(first_line(0))
        node, spec = str(start["node"]), dict(start["spec"])
    except (ValueError, KeyError, TypeError) as exc:
        sys.stderr.write(f'the first line on stdin must be {{"node": name, "spec": {{…}}}}: {exc}\n')
        return 2
    out = os.dup(1)
    os.dup2(2, 1)
    return serve(argv[0], spec, 0, out, node)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

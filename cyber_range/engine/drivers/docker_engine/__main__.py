"""`python -m cyber_range.engine.drivers.docker_engine`: builds the range image (deploy/range-node/build.sh)."""

from __future__ import annotations

import sys

from cyber_range.engine.drivers.docker_engine.image import build
from cyber_range.engine.errors import RangeError


def main() -> int:
    try:
        build(lambda line: print(line, flush=True))  # noqa: T201 - progress for whoever waits
    except RangeError as exc:
        print(exc, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

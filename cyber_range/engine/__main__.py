"""`python -m cyber_range.engine`."""

from __future__ import annotations

import sys

from cyber_range.engine.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""The engine's command line: `python -m cyber_range.engine`.

Exit codes: 0 done, 1 it did not work (an objective failed, a launch failed), 2 wrong usage, 3 the scenario has mistakes,
4 the driver cannot work on this machine.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from cyber_range.engine.cli import attack, doctor, machine, ranges, scenarios, traffic
from cyber_range.engine.cli.words import say
from cyber_range.engine.errors import DriverUnavailable, RangeError, ScenarioError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m cyber_range.engine", description=say("工控靶场引擎", "The ICS range engine")
    )
    top.add_argument("--verbose", "-v", action="store_true", help=say("显示日志", "show the log"))
    commands = top.add_subparsers(dest="command", required=True, metavar=say("命令", "COMMAND"))
    for part in (ranges, scenarios, doctor, machine, traffic, attack):
        part.add_to(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if options.verbose or options.command == "host" else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        code: int = options.run(options)
    except ScenarioError as exc:
        _complain(exc)
        return 3
    except DriverUnavailable as exc:
        _complain(exc)
        return 4
    except RangeError as exc:
        _complain(exc)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _complain(error: RangeError) -> None:
    sys.stderr.write(f"{error.what}\n")
    if error.remedy:
        sys.stderr.write(say(f"处置: {error.remedy}\n", f"Remedy: {error.remedy}\n"))

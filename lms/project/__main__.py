"""The command `lianbing` (also `python -m lms.project`)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lms.project import doctor, processes, showroom, touring
from lms.project.messages import compile_catalogues

OWN = {
    "demo": "load the demo and run everything on this machine",
    "serve": "run pages, sockets, worker, follower and range-host on this machine",
    "tour": "perform the whole main job against a fresh database and a really launched range",
    "worker": "run one Celery worker",
    "range-worker": "run the worker beside a range-host: it registers the machine and does what its ranges need",
    "doctor": "say what works here, and for everything missing the command that brings it",
    "range": "the range engine's own command line (launch, solve, validate, host ...)",
    "range-image": "build: make the image for the docker driver",
    "messages": "compile the message catalogues",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Our own verbs, and Django's management commands for everything else (migrate, tour, run_drills ...)."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.project.settings")
    verb = words[0] if words else "help"
    if verb in ("help", "-h", "--help"):
        print_help()
        return 0
    match verb:
        case "demo":
            return showroom.main(words[1:])
        case "serve":
            return processes.main(words[1:])
        case "tour":
            return touring.main(words[1:])
        case "worker":
            processes.worker(words[1:])
        case "range-worker":
            processes.range_worker(words[1:])
        case "doctor":
            return doctor.main(words[1:])
        case "range":
            processes.engine(words[1:])
        case "range-image":
            processes.engine(["image", *words[1:]])
        case "messages":
            return compile_catalogues()
    processes.become("django", verb.replace("-", "_"), *words[1:])


def print_help() -> None:
    parser = argparse.ArgumentParser(
        prog="lianbing",
        description="练兵: courses, certification and security drills for small manufacturers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                *(f"  {name:13} {what}" for name, what in OWN.items()),
                "  run-drills    the follower",
                "  anything else is a Django management command (migrate, createsuperuser ...)",
            ]
        ),
    )
    parser.print_help()


if __name__ == "__main__":
    sys.exit(main())

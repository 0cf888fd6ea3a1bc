"""What travels over range-host's socket: lines of JSON, and terminal frames after `pty`."""

from __future__ import annotations

import asyncio
import json
import struct
from enum import IntEnum
from typing import Any

from cyber_range.engine import errors
from cyber_range.engine.errors import RangeError

LINE_LIMIT = 4 * 1024 * 1024
FRAME_LIMIT = 64 * 1024
HEAD = struct.Struct(">BI")
SIZE = struct.Struct(">HH")


class Frame(IntEnum):
    DATA = 0
    RESIZE = 1
    ENDED = 2
    PING = 3
    PONG = 4
    HANG_UP = 5


class BadRequest(RangeError):
    """The request is not one: unknown verb, missing or wrong argument."""

    code = "bad_request"


class HostUnreachable(RangeError):
    """range-host does not answer on its socket."""

    code = "host_unreachable"


def frame(kind: Frame, content: bytes = b"") -> bytes:
    return HEAD.pack(kind, len(content)) + content


async def read_frame(reader: asyncio.StreamReader) -> tuple[Frame, bytes] | None:
    """The next frame; None at the end. ValueError for one that is too long or of an unknown type."""
    try:
        kind, length = HEAD.unpack(await reader.readexactly(HEAD.size))
        if length > FRAME_LIMIT:
            raise ValueError(f"a frame of {length} bytes; at most {FRAME_LIMIT} are allowed")
        return Frame(kind), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def by_code() -> dict[str, type[RangeError]]:
    kinds: list[type[RangeError]] = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RangeError)
    ]
    kinds += [BadRequest, HostUnreachable]
    return {kind.code: kind for kind in kinds}


def raised(error: dict[str, Any]) -> RangeError:
    """The error a daemon sent, as the class it was."""
    kind = by_code().get(str(error.get("code")), RangeError)
    detail = error.get("detail")
    detail = {str(k): v for k, v in detail.items() if k not in ("what", "remedy")} if isinstance(detail, dict) else {}
    return kind(str(error.get("what", "unknown error")), remedy=str(error.get("remedy", "")), **detail)

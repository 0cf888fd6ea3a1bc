"""Nothing secret reaches a log: tokens, check codes and passwords are cut out of every line."""

from __future__ import annotations

import logging
import re

SECRET = re.compile(
    r"(?i)\b(password|token|check_?code|code|secret|ticket|authorization)(['\"]?\s*[=:]\s*['\"]?(?:(?:bearer|basic|token)\s+)?)[^\s&'\",}]+"
)


class RedactSecrets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        cut = SECRET.sub(r"\1\2***", text)
        if cut != text:
            record.msg, record.args = cut, ()
        return True

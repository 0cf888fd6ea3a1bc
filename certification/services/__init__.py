"""Every write of certification, as verbs. Keyword-only, atomic, no request."""

from certification.services.awards import (
    RUBRIC,
    apply_for,
    chain_fault,
    confirm,
    decide,
    decide_appeal,
    mark,
    preview,
    raise_appeal,
    recheck_open,
    withdraw,
)
from certification.services.credentials import (
    check_code_of,
    expire_due,
    issue,
    order_document_again,
    register_external,
    reissue,
    render_document,
    revoke,
    status_list_token,
    verify,
)
from certification.services.keys import current_key, document_keys, public_keys, rotate_key
from certification.services.planning import enter_workforce, set_target
from certification.services.refusal import Refusal
from certification.services.releases import check_release, may_publish_as_of, publish_release
from certification.services.standards import StandardError, load_standards, set_rule
from certification.services.statistics import build_rollup, open_records, roll_up_due

__all__ = [
    "RUBRIC",
    "Refusal",
    "StandardError",
    "apply_for",
    "build_rollup",
    "chain_fault",
    "check_code_of",
    "check_release",
    "confirm",
    "current_key",
    "decide",
    "decide_appeal",
    "document_keys",
    "enter_workforce",
    "expire_due",
    "issue",
    "load_standards",
    "mark",
    "may_publish_as_of",
    "open_records",
    "order_document_again",
    "preview",
    "public_keys",
    "publish_release",
    "raise_appeal",
    "recheck_open",
    "register_external",
    "reissue",
    "render_document",
    "revoke",
    "roll_up_due",
    "rotate_key",
    "set_rule",
    "set_target",
    "status_list_token",
    "verify",
    "withdraw",
]

"""Standards, the way to a credential, the credential itself, and the books kept over all of them."""

from certification.models.awards import Appeal, Application, AwardRule, ChainHead, Decision, ManualMark
from certification.models.credentials import Credential, CredentialEvent, SigningKey, StatusList
from certification.models.planning import Target, Workforce
from certification.models.standards import (
    Function,
    Occupation,
    Requirement,
    Standard,
    StandardLevel,
    Weight,
    WorkContent,
)
from certification.models.statistics import BureauAccess, DailyRollup, Release

__all__ = [
    "Appeal",
    "Application",
    "AwardRule",
    "BureauAccess",
    "ChainHead",
    "Credential",
    "CredentialEvent",
    "DailyRollup",
    "Decision",
    "Function",
    "ManualMark",
    "Occupation",
    "Release",
    "Requirement",
    "SigningKey",
    "Standard",
    "StandardLevel",
    "StatusList",
    "Target",
    "Weight",
    "WorkContent",
    "Workforce",
]

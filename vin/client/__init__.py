"""What an organisation's own system uses: identifiers never leave this side."""

from vin.client.answers import (
    Contact,
    Ground,
    Match,
    OtherOutcome,
    Outcome,
    Outcomes,
    OwnOutcome,
    Signal,
)
from vin.client.client import Client
from vin.client.config import Config, load_config
from vin.client.errors import (
    AnswerError,
    ClientError,
    ConfigError,
    KeyHolderError,
    OwnNumberError,
    Problem,
    ProblemError,
    TooOldError,
    UnreachableError,
)
from vin.client.identifiers import IdentifierError
from vin.client.registration import Address, Bsn, Demographic, Registration, Reporter
from vin.client.retry import Retry

__all__ = [
    "Address",
    "AnswerError",
    "Bsn",
    "Client",
    "ClientError",
    "Config",
    "ConfigError",
    "Contact",
    "Demographic",
    "Ground",
    "IdentifierError",
    "KeyHolderError",
    "Match",
    "OtherOutcome",
    "Outcome",
    "Outcomes",
    "OwnNumberError",
    "OwnOutcome",
    "Problem",
    "ProblemError",
    "Registration",
    "Reporter",
    "Retry",
    "Signal",
    "TooOldError",
    "UnreachableError",
    "load_config",
]

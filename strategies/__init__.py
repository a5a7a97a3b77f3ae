"""What varies between decoding methods: unmasking rules, cache policies, stop rules, and their names."""

from strategies.base import CacheRule, Row, StopRule, Strategy, UnmaskRule
from strategies.errors import PartError, SpecError
from strategies.predictions import Predictions, Vocabulary
from strategies.proposal import Proposal
from strategies.registry import ALL, parse, register, resolve

__all__ = [
    "ALL",
    "CacheRule",
    "PartError",
    "Predictions",
    "Proposal",
    "Row",
    "SpecError",
    "StopRule",
    "Strategy",
    "UnmaskRule",
    "Vocabulary",
    "parse",
    "register",
    "resolve",
]

"""What varies between decoding methods: unmasking rules, cache policies, stop rules, and their names."""

from strategies.base import CacheRule, Row, StopRule, Strategy, UnmaskRule
from strategies.errors import SpecError
from strategies.proposal import Proposal, Vocabulary
from strategies.registry import ALL, parse, register, resolve

__all__ = [
    "ALL",
    "CacheRule",
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

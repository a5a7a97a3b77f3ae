"""What varies between decoding methods: unmasking rules, cache policies, stop rules, and their names."""

from strategies.base import CacheRule, Proposal, Row, StopRule, Strategy, UnmaskRule, Vocabulary
from strategies.errors import SpecError
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

"""The errors of strategies: a spec that names none, and a part that answers what none may."""


class SpecError(ValueError):
    """A strategy spec, or a combination of its parts, that cannot be decoded with."""


class PartError(Exception):
    """A rule, cache or stop answered what cannot be decoded with; the message names it and what may be."""

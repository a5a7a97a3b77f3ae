"""The error of a strategy spec: one line that says what is wrong and lists what exists."""


class SpecError(ValueError):
    """A strategy spec, or a combination of its parts, that cannot be decoded with."""

"""The error that a reader of run directories may cause."""


class ResultsError(ValueError):
    """A run directory, record or comparison cannot be used; one line that names the cause and the mend."""

"""The error a user can mend: one line that names the cause and the way out."""


class UserError(Exception):
    """A mistake the user can correct; the command line prints it on one line and exits with status 2."""

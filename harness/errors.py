"""The error a user can mend: one line that names the cause and the way out."""

from __future__ import annotations

import errno

MENDABLE = {
    errno.EACCES: "get the permission, or name another place",
    errno.EPERM: "get the permission, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOTDIR: "a part of the path is a file; name another place",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "raise the limit on file sizes and run the same command again",
}


class UserError(Exception):
    """A mistake the user can correct; the command line prints it on one line and exits with status 2."""


def check_text(text: str, where: str) -> None:
    """Raise UserError, beginning with `where`, for half a surrogate pair: JSON can hold it, no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half of a surrogate pair, which is no text") from None


def mendable(error: OSError) -> str | None:
    """One line for a file that the system refuses for a reason the user can mend, None for other errors."""
    advice = MENDABLE.get(error.errno or 0)
    if advice is None:
        return None
    where = f" {error.filename}" if error.filename else ""
    return f"cannot read or write{where}: {error.strerror}; {advice}"

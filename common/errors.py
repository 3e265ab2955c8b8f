"""The base of the errors that users can mend, and helpers to word them."""

import difflib
import errno
from collections.abc import Iterable

# Of the machine rather than of our code: a full disk, missing rights, a port in use, too many open files.
MACHINE_ERRNOS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EADDRINUSE, errno.EADDRNOTAVAIL,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENAMETOOLONG, errno.EIO, errno.ENOTCONN, errno.ECONNREFUSED,
    errno.ENETUNREACH, errno.EHOSTUNREACH,
})  # fmt: skip


class UserError(Exception):
    """A mistake of the user or of a vertical's author, or a state of the machine: printed as a sentence, exit code 1.

    The message says what was wrong, where, and what to do. Any other exception is a defect of this project.
    """


def is_machine_error(problem: BaseException) -> bool:
    """Whether an OSError is about the machine (disk, rights, ports, open files) and not about our code."""
    return isinstance(problem, OSError) and problem.errno in MACHINE_ERRNOS


def first_line(problem: object) -> str:
    """The first line of a failure's text that is not blank; the name of its class where there is none."""
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ " (did you mean X?)" for the closest of `names`, whatever their case; "" where none is close."""
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f" (did you mean {by_lower_case[close[0]]}?)" if close else ""

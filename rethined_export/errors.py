"""The failures a command reports in one line, each with the exit code it ends with.

Exit codes: 0 done; 1 unexpected; 2 wrong usage or unusable input; 3 parity gate failed; 4 over
budget; 5 an operator the target cannot run; 6 device or runtime not available.
"""


class UserError(Exception):
    """Something the user can put right.

    The message is one line that says what is wrong, with what value, and what to do.
    """

    exit_code = 2


class ParityError(UserError):
    """An exported artifact's outputs differ from the reference by more than the gate allows."""

    exit_code = 3


class OperatorError(UserError):
    """The graph holds an operator that the target cannot run."""

    exit_code = 5


class UnavailableError(UserError):
    """A device or a runtime that the command needs is not there."""

    exit_code = 6

"""The command line: every command that Umoja has. Heavy parts are imported when a command needs them.

Exit codes: 0 all is well · 1 something was found wrong (books, packs, audit, a drill) · 2 the command
was typed wrong · 69 the data folder is in use or cannot be opened · 78 the configuration is refused ·
130 interrupted.
"""

import sys

from cyclopts import CycloptsError

from umoja.commands import archive, clients, data, ops, packs, rehearsal, running
from umoja.commands.words import (
    INTERRUPTED,
    OK,
    REFUSED,
    UNAVAILABLE,
    USAGE,
    WRONG,
    Refused,
    app,
    complain,
)

__all__ = ["OK", "REFUSED", "UNAVAILABLE", "USAGE", "WRONG", "main", "run"]

ROOMS = (archive, clients, data, ops, packs, rehearsal, running)
"""Where the commands are: importing them makes them known."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command; return its exit code. Expected troubles are one line, not a trace."""
    from umoja.faults import Fault

    try:
        code = app(
            words or ["--help"], exit_on_error=False, print_error=True, result_action="return_value"
        )
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left: nothing more to say
        return OK
    except Refused as refused:
        for fault in refused.faults:
            complain(fault)
        return REFUSED
    except Fault as fault:
        complain(str(fault))
        return UNAVAILABLE
    except Exception as cause:
        told = _expected(cause)
        if told is None:
            raise
        for line in told[1]:
            complain(line)
        return told[0]
    return code if isinstance(code, int) else OK


def _expected(cause: Exception) -> tuple[int, list[str]] | None:
    """Return exit code and sentences for a trouble that is told, or None for a bug."""
    from umoja.markets.packs import PackFaulty, PackUnknown

    if isinstance(cause, PackUnknown):
        return USAGE, [str(cause)]
    if isinstance(cause, PackFaulty):
        return WRONG, [str(fault) for fault in cause.faults]
    if "umoja.premises" in sys.modules:
        from umoja.premises import DataInUse, NotForProduction

        if isinstance(cause, DataInUse):
            return UNAVAILABLE, [str(cause)]
        if isinstance(cause, NotForProduction):
            return REFUSED, cause.faults
    if "umoja.opening" in sys.modules:
        from umoja.ledger.chain import JournalDamaged
        from umoja.opening import NotMigrated, WrongKind
        from umoja.storage.migrate import PlanBroken
        from umoja.storage.port import DatabaseDamaged, ServerUnfit

        if isinstance(cause, NotMigrated | WrongKind | PlanBroken | ServerUnfit):
            return REFUSED, [str(cause)]
        if isinstance(cause, DatabaseDamaged | JournalDamaged):
            return UNAVAILABLE, [str(cause)]
    return None

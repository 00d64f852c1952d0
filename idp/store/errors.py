"""What can go wrong in the store."""

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError, StatementError

# SQLSTATE classes of refused values: cardinality, data, integrity, check option, limits such as an index entry's size.
_ABOUT_VALUES = frozenset({"21", "22", "23", "44", "54"})


class StoreError(Exception):
    """Base of the store's errors; the text is for the log and the operator, never for a client."""


class NotFound(StoreError):
    """No row has that key."""


class Rejected(StoreError):
    """The database refused a statement because of its values; nothing was saved, and others are not concerned."""


class Conflict(Rejected):
    """A row with that key, or another unique value, exists already, or a row it refers to is missing."""


class Unavailable(StoreError):
    """The database cannot be reached, is full, or refused the work; nothing was saved."""


class Contended(Unavailable):
    """Another transaction was preferred to this one (SQLSTATE class 40); nothing was saved, and it may go again."""


class UnknownOutcome(Unavailable):
    """The commit was sent and its answer lost: the work may or may not have been saved, so nobody repeats it."""


class SchemaError(StoreError):
    """The schema does not fit this code; the text names the command that mends it."""


def translate(error: Exception) -> StoreError:
    """Return what a driver's or pool's error means, without the values that a refusal quotes: they may be secrets.

    Raise it `from None`, for the driver's own text would follow as its cause.
    """
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    cause = getattr(cause, "driver_exception", cause)
    name = type(cause).__name__
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, IntegrityError):
        return Conflict("a row exists already, or refers to something missing")
    if _about_values(error, state):
        return Rejected(name if state is None else f"{name} ({state})")
    return Unavailable(f"{name}: {str(cause).partition(chr(10))[0] or 'no details'}")


def translate_driver(error: Exception) -> StoreError:
    """Return the same for what asyncpg raises itself, where the hot path uses it without SQLAlchemy."""
    name, state = type(error).__name__, getattr(error, "sqlstate", None)
    if state is None:
        # The driver's own complaint: the connection is gone. A value that it cannot encode has a state of class 22.
        return Unavailable(name)
    if state[:2] == "23":
        return Conflict("a row exists already, or refers to something missing")
    if state[:2] == "40":
        return Contended(f"{name} ({state})")
    return Rejected(f"{name} ({state})") if state[:2] in _ABOUT_VALUES else Unavailable(f"{name} ({state})")


def _about_values(error: Exception, state: str | None) -> bool:
    if not isinstance(error, DBAPIError):
        # A value that could not even be sent, such as a text that is no UTF-8.
        return isinstance(error, StatementError | UnicodeEncodeError)
    if error.connection_invalidated:
        return False
    if state is not None:
        return state[:2] in _ABOUT_VALUES
    return isinstance(error, DataError | InterfaceError | ProgrammingError)

"""The errors that are the user's to mend: each message names the file, the field and the remedy."""

from collections.abc import Iterable

LONGEST = 800  # characters of a message


class DMHError(Exception):
    """Base of every error that a user can mend; the command line prints it as one line and exits with 2.

    Strangers' files are told of, so it is one line, of characters that can be printed and no more than
    `LONGEST`, whatever was put into it.
    """

    def __str__(self) -> str:
        said = " ".join(line.strip() for line in super().__str__().splitlines())
        if len(said) > LONGEST:  # the beginning names the file, the end says what to do
            said = f"{said[: LONGEST // 2]} … {said[-LONGEST // 2 + 3 :]}"
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in said)


class DataError(DMHError):
    """A dataset is missing, broken, or breaks the schema."""


class CheckpointError(DMHError):
    """A checkpoint is missing, broken, or does not fit what it is used with."""


class NotebookError(DMHError):
    """A notebook is missing, got a parameter that it does not have, or failed."""


class SettingError(DMHError):
    """A setting has a value that cannot work."""


class BenchmarkError(DMHError):
    """The sides of a benchmark compute different things, or one of several benchmarks failed."""


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise SettingError unless a setting has one of the values that there are."""
    known = tuple(choices)
    if value not in known:
        raise SettingError(f"{name}: '{value}' is not known; choose one of {', '.join(known)}")

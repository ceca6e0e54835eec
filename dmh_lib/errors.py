"""The errors that are the user's to mend: each message names the file, the field and the remedy."""


class DMHError(Exception):
    """Base of every error that a user can mend; the command line prints it as one line and exits with 2."""


class DataError(DMHError):
    """A dataset is missing, broken, or breaks the schema."""


class CheckpointError(DMHError):
    """A checkpoint is missing, broken, or does not fit what it is used with."""


class NotebookError(DMHError):
    """A notebook is missing, got a parameter that it does not have, or failed."""


class SettingError(DMHError):
    """A setting has a value that cannot work."""

"""The error of a storage that cannot be used; apart from the storage, whose imports take time."""


class StorageError(OSError):
    """An object store does not answer, or refuses; the message names the file."""

"""The values that all commands over one folder share, kept in it: its random id, the precision, whether it finished."""

import json
import threading
import uuid
from typing import Any

from pipeline.session.folder import SESSION_FILE, TRAINED_IN, earlier_trainings, holds_trainings, read_session_file
from vit.files.storage import Folder


class SessionMemory:
    """Plain values by name, kept for this command and for later ones over its folder."""

    def __init__(self, folder: str, forced: str | None) -> None:
        """Reads the values of an earlier command, or begins with a new random id.

        Args:
            folder: path or URI of the command's folder.
            forced: the flag that makes the command ignore earlier results, if any.
        """
        self._folder = Folder(folder)
        self._lock = threading.Lock()
        known = read_session_file(self._folder)
        self._values = known or {
            "id": uuid.uuid4().hex, "forced": forced, TRAINED_IN: earlier_trainings(folder, forced),
        }  # fmt: skip
        if known is None:
            self._write()

    @property
    def owner(self) -> str:
        """The random id by which this folder's runs can be told from all others."""
        return str(self._values["id"])

    @property
    def trained_in(self) -> dict[str, str]:
        """The folders of earlier commands in which trainings are resumed, by the names of the folders below them.

        Trainings in folders of other names are in this command's own folder.
        """
        return dict(self._values.get(TRAINED_IN, {}))

    def remembered(self, name: str) -> Any:
        """Returns the value that this or an earlier command over the folder kept under this name, else None."""
        return self._values.get(name)

    def remember(self, name: str, value: Any) -> None:
        """Keeps a plain value for later commands over this folder."""
        with self._lock:
            self._values[name] = value
            self._write()

    def _write(self) -> None:
        self._folder.write(SESSION_FILE, json.dumps(self._values).encode(), durable=True)

    def remove_if_unused(self) -> None:
        """Removes the folder if neither this command nor an earlier one has begun anything in it."""
        if "finished" not in self._values and not holds_trainings(self._folder):
            parent, _, name = self._folder.uri.rpartition("/")
            Folder(parent).remove_folder(name)

"""What the commands over one folder agree on, kept in the folder: its random id, the precision, whether it is done."""

import json
import threading
import uuid
from typing import Any

from pipeline.session.folder import SESSION_FILE, TRAINED_IN, earlier_trainings, holds_trainings, read_session_file
from vit.files.storage import Folder


class SessionMemory:
    """Plain values by name, for this command and the next ones over its folder."""

    def __init__(self, folder: str, forced: str | None) -> None:
        """Reads what an earlier command left, or begins with a new random id.

        Args:
            folder: the command's, path or URI.
            forced: the flag by which earlier results do not count, if any.
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
        """The random id of this folder's runs, which keeps them apart from all others."""
        return str(self._values["id"])

    @property
    def trained_in(self) -> dict[str, str]:
        """The folders of earlier commands in which trainings go on, by the names below them; the others go on here."""
        return dict(self._values.get(TRAINED_IN, {}))

    def remembered(self, name: str) -> Any:
        """What an earlier command over this folder remembered, else None."""
        return self._values.get(name)

    def remember(self, name: str, value: Any) -> None:
        """Keeps a plain value for the next command over this folder."""
        with self._lock:
            self._values[name] = value
            self._write()

    def _write(self) -> None:
        self._folder.write(SESSION_FILE, json.dumps(self._values).encode(), durable=True)

    def forget(self) -> None:
        """Removes the folder if nothing was begun in it, by no earlier command either."""
        if "finished" not in self._values and not holds_trainings(self._folder):
            parent, _, name = self._folder.uri.rpartition("/")
            Folder(parent).remove_folder(name)

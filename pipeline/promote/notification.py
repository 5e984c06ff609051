"""Telling others of a new champion: a web hook, or a command. It never undoes what it tells of."""

import json
import shlex
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from pipeline.errors import UsageError

_SECONDS = 10.0
"""That a web hook may take to answer, or a command to end."""


def check_target(target: str) -> None:
    """Raises UsageError where `--notify` is neither a URL nor a command."""
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise UsageError(f"--notify is {target!r}, but must be an http(s) URL or a command ({error})") from error
    if not words:
        raise UsageError("--notify is empty, but must be an http(s) URL or a command")


def notify(target: str, decision: dict[str, Any]) -> None:
    """POSTs the decision as JSON to a URL, trying twice, or runs a command with it on stdin; no shell is involved.

    Where it fails, a warning says so.
    """
    content = json.dumps(decision).encode()
    try:
        if _is_url(target):
            _post(target, content)
        else:
            subprocess.run(shlex.split(target), input=content, timeout=_SECONDS, check=True, stdout=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split()).replace(target, _shown(target))
        print(f"warning: the champion is changed, but --notify {_shown(target)} failed: {reason}", file=sys.stderr)


def _is_url(target: str) -> bool:
    return target.lower().startswith(("http://", "https://"))


def _shown(target: str) -> str:
    """Without path and query, which are the secret of many a web hook."""
    if not _is_url(target):
        return target
    parts = urllib.parse.urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _post(url: str, content: bytes) -> None:
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method="POST")
    try:
        _send(request)
    except urllib.error.HTTPError as error:
        if error.code < 500:  # it would say the same again
            raise
        _send(request)
    except OSError:
        _send(request)


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=_SECONDS):
        pass

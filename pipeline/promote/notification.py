"""Notifies others of a new champion by a web hook or a command; a failure never undoes the decision."""

import http.client
import json
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from pipeline.errors import UsageError

_SECONDS = 10.0
"""The seconds that a web hook may take to answer, or a command to end."""


def check_target(target: str) -> None:
    """Raises UsageError where `--notify` is neither a valid URL nor a command."""
    if _is_url(target):
        _check_url(target)
        return
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise UsageError(f"--notify is {target!r}, but must be an http(s) URL or a command ({error})") from error
    if not words:
        raise UsageError("--notify is empty, but must be an http(s) URL or a command")


def _check_url(url: str) -> None:
    named = f"--notify is a URL of {_shown(url)}, but"
    if not re.fullmatch("[!-~]+", url):
        raise UsageError(f"{named} must be of ASCII characters without spaces: write others as %20 and the like")
    if _host_of(url) is None:
        raise UsageError(f"{named} must have a host, and a port from 1 to 65535 or none")
    if "@" in urllib.parse.urlsplit(url).netloc:
        raise UsageError(f"{named} must have no login, which would not be sent")


def notify(target: str, decision: dict[str, Any]) -> None:
    """POSTs the decision as JSON to a URL, with one retry, or runs a command with the JSON on stdin, without a shell.

    `check_target` must have accepted the target. A failure prints a warning and raises nothing.
    """
    content = json.dumps(decision).encode()
    try:
        if _is_url(target):
            _post(target, content)
        else:
            subprocess.run(shlex.split(target), input=content, timeout=_SECONDS, check=True, stdout=subprocess.DEVNULL)
    except (OSError, http.client.HTTPException, ValueError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split()).replace(target, _shown(target))
        print(f"warning: the champion is changed, but --notify {_shown(target)} failed: {reason}", file=sys.stderr)


def _is_url(target: str) -> bool:
    return target.lower().startswith(("http://", "https://"))


def _shown(target: str) -> str:
    """Returns the target to show: a URL without path and query, which often contain a web hook's secret."""
    if not _is_url(target):
        return target
    return f"{target.partition('://')[0].lower()}://{_host_of(target) or '***'}"


def _host_of(url: str) -> str | None:
    """Returns the host of a URL, with its port; None where the URL has no valid host."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.netloc.rpartition("@")[2] if parts.hostname and parts.port != 0 else None
    except ValueError:  # brackets without an address in them, or a port that is no number
        return None


def _post(url: str, content: bytes) -> None:
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method="POST")
    try:
        _send(request)
    except urllib.error.HTTPError as error:
        if error.code < 500:  # a retry would get the same answer
            raise
        _send(request)
    except (OSError, http.client.HTTPException):
        _send(request)


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=_SECONDS):
        pass

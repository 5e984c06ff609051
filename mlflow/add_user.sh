#!/usr/bin/env bash
# Gives somebody a login at the team's server, and a role in it.
#
#   mlflow/add_user.sh NAME reader|trainer|promoter
#
# Asks for the new password (or reads it from standard input). The server and the administrator's login come from
# MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Given again, it sets the password and adds
# the role. Needs Python, not MLflow. Exit status: 0 done, 1 failed, 2 bad usage.
set -euo pipefail
exec 3<<'PROGRAM'
import base64
import getpass
import json
import os
import sys
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# By MLflow's kinds of things. Promoting takes an alias from a version, which MLflow counts as managing the model.
ROLES = {
    "reader": {"experiment": "READ", "registered_model": "READ"},
    "trainer": {"experiment": "EDIT", "registered_model": "EDIT"},
    "promoter": {"experiment": "EDIT", "registered_model": "MANAGE"},
}
server, admin, secret = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("URI", "USERNAME", "PASSWORD"))


def fail(message, status=1):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def call(method, what, content=None):
    """What the server answers; None where the thing is there already."""
    login = base64.b64encode(f"{admin}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    url, data = f"{server.rstrip('/')}/api/{what}", json.dumps(content).encode() if content else None
    try:
        return json.loads(urlopen(Request(url, data, headers, method=method), timeout=30).read() or "{}")
    except HTTPError as error:
        answer = error.read().decode(errors="replace")
        if "RESOURCE_ALREADY_EXISTS" in answer:
            return None
        if error.code == 401:
            fail("the server refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD", 2)
        fail(json.loads(answer)["message"] if answer.startswith("{") else answer)
    except URLError as error:
        fail(f"{server} does not answer ({error.reason}): start it, or change MLFLOW_TRACKING_URI", 2)


if len(sys.argv) != 3 or sys.argv[2] not in ROLES:
    fail(f"usage: mlflow/add_user.sh NAME {'|'.join(ROLES)}", 2)
if not server.startswith(("http://", "https://")):
    fail("MLFLOW_TRACKING_URI must name the server, such as http://localhost:5000", 2)
name, role = sys.argv[1:]
password = getpass.getpass(f"password for {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
call("POST", "3.0/mlflow/roles/create", {"name": role, "workspace": "default"})
roles = call("GET", "3.0/mlflow/roles/list?workspace=default")["roles"]
(role_id,) = (each["id"] for each in roles if each["name"] == role)
for kind, permission in ROLES[role].items():
    grant = {"role_id": role_id, "resource_type": kind, "resource_pattern": "*", "permission": permission}
    call("POST", "3.0/mlflow/roles/permissions/add", grant)
is_new = call("POST", "2.0/mlflow/users/create", {"username": name, "password": password}) is not None
call("POST", "3.0/mlflow/roles/assign", {"username": name, "role_id": role_id})
if not is_new:  # at the end, since it may be the very login that this goes by
    proof = {"current_password": secret} if name == admin else {}
    call("PATCH", "2.0/mlflow/users/update-password", {"username": name, "password": password, **proof})
print(f"{name} is a {role}")
PROGRAM
exec python3 /dev/fd/3 "$@"

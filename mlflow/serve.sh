#!/usr/bin/env bash
# The team's tracking server without Docker: PostgreSQL and MLflow with a login, all their files in one folder.
#
#   mlflow/serve.sh [--database-only] FOLDER [SETTINGS]
#
# FOLDER is made at the first start and taken up again at the next. SETTINGS is like .env.example; by default it is the
# .env beside this script. With --database-only MLflow is not started: to restore, to upgrade. Ctrl-C or SIGTERM ends
# it.
# Exit status: 0 ended so, 1 failed, 2 bad usage, always with one line that says why.
set -euo pipefail
umask 077  # whatever is made here, nobody else reads
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {  # MESSAGE [STATUS]
    echo "error: $1" >&2
    exit "${2:-1}"
}

read_settings() {  # FILE of lines KEY=VALUE, which become variables
    [ -r "$1" ] || fail "there is no settings file $1: copy $here/.env.example and fill it in" 2
    [ -z "$(find -L "$1" -perm /077)" ] || fail "others may read $1, which holds passwords: chmod 600 $1" 2
    local name value
    while IFS='=' read -r name value || [ -n "$name" ]; do
        case $name in
            '' | '#'* | S3_*) ;;
            SERVER_NAME | BIND_ADDRESS | SERVER_PORT | ADMIN_USERNAME | ADMIN_PASSWORD | SECRET_KEY | POSTGRES_PASSWORD)
                [[ $value =~ ^[A-Za-z0-9._-]*$ ]] || fail "$1: $name may hold letters, digits and - _ . only" 2
                printf -v "$name" '%s' "$value"
                ;;
            *) fail "$1: $name is no setting" 2 ;;
        esac
    done <"$1"
    for name in SERVER_NAME BIND_ADDRESS SERVER_PORT ADMIN_USERNAME ADMIN_PASSWORD SECRET_KEY POSTGRES_PASSWORD; do
        [ -n "${!name:-}" ] || fail "$1: $name is empty" 2
    done
}

find_postgres() {  # puts PostgreSQL's newest binaries first on the PATH; PG_BIN says which to take instead
    local found  # the folder of Debian's client has no initdb
    found=$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1) || true
    found=${PG_BIN:-${found%/initdb}}
    [ -z "$found" ] || PATH=$found:$PATH
    command -v initdb >/dev/null && command -v pg_ctl >/dev/null ||
        fail "PostgreSQL is not installed: apt-get install postgresql, or name its programs' folder in PG_BIN"
}

find_mlflow() {
    local missing
    command -v mlflow >/dev/null || fail "there is no mlflow on the PATH: activate the project's environment"
    missing=$(python -c 'from importlib.util import find_spec as has
print(*(name for name in ("mlflow", "flask_wtf", "psycopg2") if not has(name)))')
    [ -z "$missing" ] || fail "this Python lacks $missing: pip install -c constraints.txt -e '.[server]'"
}

start_database() {
    # What libpq connects by, here and in MLflow: through a socket in a folder that is closed to others.
    export PGHOST=$folder/run PGPORT=5432 PGUSER=mlflow PGPASSFILE=$folder/run/pgpass
    [ ${#PGHOST} -le 88 ] || fail "$folder is too long a path for PostgreSQL's socket: 84 characters at most" 2
    mkdir -p "$folder/run" "$folder/log" "$folder/artifacts"
    printf '*:*:*:mlflow:%s\n' "$POSTGRES_PASSWORD" >"$PGPASSFILE"
    printf 'export PGHOST=%q PGPORT=%q PGUSER=%q PGPASSFILE=%q PATH=%q:"$PATH"\n' \
        "$PGHOST" "$PGPORT" "$PGUSER" "$PGPASSFILE" "$(dirname "$(command -v initdb)")" >"$folder/run/env"
    if [ ! -e "$folder/postgresql/PG_VERSION" ]; then
        rm -rf "$folder/postgresql.new"  # of a start that was cut short
        printf '%s\n' "$POSTGRES_PASSWORD" >"$folder/run/password"
        initdb --pgdata "$folder/postgresql.new" --username mlflow --pwfile "$folder/run/password" \
            --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 >"$folder/log/initdb.log" 2>&1 ||
            fail "PostgreSQL could not be set up, see $folder/log/initdb.log"
        rm "$folder/run/password"
        mv "$folder/postgresql.new" "$folder/postgresql"
    fi
    local left=300  # where it runs already, of a script that was killed, it may still be ending or recovering
    until pg_isready --quiet; do
        if ! pg_ctl --pgdata "$folder/postgresql" status >/dev/null; then
            pg_ctl --pgdata "$folder/postgresql" --log "$folder/log/postgresql.log" --wait --timeout 120 \
                --options "-c listen_addresses='' -c unix_socket_directories='$PGHOST' -c port=$PGPORT" \
                start >/dev/null 9>&- || fail "PostgreSQL does not start, see $folder/log/postgresql.log"
        fi
        [ $((left -= 1)) -gt 0 ] || fail "PostgreSQL does not answer, see $folder/log/postgresql.log"
        sleep 0.2
    done
    psql --no-password --dbname postgres --quiet --command '' 2>/dev/null ||
        fail "the database refuses POSTGRES_PASSWORD: $folder was made with another" 2
    local name
    for name in mlflow mlflow_auth; do
        [ -n "$(psql --dbname postgres --tuples-only --no-align --command \
            "SELECT 1 FROM pg_database WHERE datname = '$name'")" ] || createdb "$name"
    done
}

start_mlflow() {
    export MLFLOW_AUTH_CONFIG_PATH=$here/basic_auth.ini MLFLOW_FLASK_SERVER_SECRET_KEY=$SECRET_KEY
    export MLFLOW_AUTH_ADMIN_USERNAME=$ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD=$ADMIN_PASSWORD
    # MLflow's jobs judge the answers of language models: eight processes that nobody here has a use for.
    export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
    local host=$BIND_ADDRESS
    [ "$host" != 0.0.0.0 ] || host=127.0.0.1
    ! (exec 3<>"/dev/tcp/$host/$SERVER_PORT") 2>/dev/null ||
        fail "SERVER_PORT is $SERVER_PORT, where something listens already" 2
    cd "$folder"
    # In a process group of its own (so that Ctrl-C reaches this script alone), which keeps the lock while it lives.
    setsid mlflow server --app-name basic-auth \
        --host "$BIND_ADDRESS" --port "$SERVER_PORT" \
        --backend-store-uri postgresql+psycopg2:///mlflow \
        --artifacts-destination "$folder/artifacts" --serve-artifacts \
        --allowed-hosts "$SERVER_NAME,$SERVER_NAME:*,localhost:*,127.0.0.1:*,mlflow:5000" \
        --cors-allowed-origins "http://$SERVER_NAME:$SERVER_PORT,https://$SERVER_NAME" \
        >>"$folder/log/mlflow.log" 2>&1 </dev/null &
    mlflow=$!
    until python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' \
        "http://$host:$SERVER_PORT/health" 2>/dev/null; do
        kill -0 "$mlflow" 2>/dev/null || fail "MLflow does not start, see $folder/log/mlflow.log"
        sleep 0.5
    done
}

wait_for_an_end() {  # of PostgreSQL or, if it was started, of MLflow; neither is of use without the other
    while pg_ctl --pgdata "$folder/postgresql" status >/dev/null; do
        [ -z "$mlflow" ] || kill -0 "$mlflow" 2>/dev/null || fail "MLflow has ended, see $folder/log/mlflow.log"
        sleep 1
    done
    fail "PostgreSQL has ended, see $folder/log/postgresql.log"
}

stop() {
    trap - EXIT
    if [ -n "$mlflow" ]; then
        kill -TERM -- "-$mlflow" 2>/dev/null || true
        wait "$mlflow" 2>/dev/null || true
        local left=100  # its workers finish what they are answering
        while kill -0 -- "-$mlflow" 2>/dev/null && [ $((left -= 1)) -gt 0 ]; do sleep 0.2; done
        kill -KILL -- "-$mlflow" 2>/dev/null || true
    fi
    pg_ctl --pgdata "$folder/postgresql" --mode fast --wait stop >/dev/null 2>&1 || true
}

database_only=
if [ "${1:-}" = --database-only ]; then
    database_only=yes
    shift
fi
case ${1:-} in '' | -*) fail "usage: $0 [--database-only] FOLDER [SETTINGS]" 2 ;; esac
[ $# -le 2 ] || fail "usage: $0 [--database-only] FOLDER [SETTINGS]" 2
[ "$(id -u)" != 0 ] || fail "PostgreSQL does not run as root: make a user for it and start this with runuser -u USER" 2
read_settings "${2:-$here/.env}"
find_postgres
[ -n "$database_only" ] || find_mlflow
mkdir -p "$1" && folder=$(cd "$1" && pwd) && [ -w "$folder" ] || fail "$1 cannot be written" 2
[[ $folder =~ ^[A-Za-z0-9/._-]+$ ]] || fail "$folder: its path may hold letters, digits and / - _ . only" 2
exec 9>"$folder/lock"
flock --nonblock 9 || fail "a server runs in $folder already"

mlflow=
trap stop EXIT
trap 'exit 0' INT TERM
start_database
if [ -n "$database_only" ]; then
    echo "the database runs: . $folder/run/env, then psql, pg_dump, pg_restore (Ctrl-C ends it)"
    wait_for_an_end
fi
start_mlflow
echo "MLflow: http://$SERVER_NAME:$SERVER_PORT (log: $folder/log/mlflow.log; Ctrl-C ends it)"
wait_for_an_end

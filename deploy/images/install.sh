#!/bin/sh
# One step of an image's installation, in a Debian 12 root: install.sh STEP [ARGUMENT…].
# The Dockerfiles run these steps, and so does `make test-images`, in a root that debootstrap made.
set -eu

APP=/opt/masquerade
TOOLS=/opt/tools # pip lives here, not in the environment that the images carry
export DEBIAN_FRONTEND=noninteractive

# What runs: Python and a user. Debian's security fixes come on top of the pinned base.
system() {
  apt-get update -qq
  apt-get upgrade -qq --yes --no-install-recommends >/dev/null
  apt-get install -qq --yes --no-install-recommends python3.11 "$@" >/dev/null
  apt-get clean
  rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
  groupadd --gid 10001 masquerade
  useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
    --no-log-init masquerade
  mkdir -p "$APP" /run/masquerade
  chown 10001:10001 /run/masquerade
}

# What installs, in stages that are thrown away.
tools() {
  apt-get update -qq
  apt-get install -qq --yes --no-install-recommends python3.11-venv >/dev/null
  python3.11 -m venv "$TOOLS"
  python3.11 -m venv --without-pip "$APP/venv"
}

# Packages of a lock file. Wheels only: nothing is compiled. What a lock lacks is an error.
packages() {
  pip_install --no-deps --only-binary=:all: --requirement "$1"
  "$TOOLS/bin/pip" --python "$APP/venv/bin/python" --disable-pip-version-check check
}

# Our own command, as `make setup` installs it: the sources stay where they are.
project() {
  PIP_CONSTRAINT="$APP/serving/requirements.txt" pip_install --no-deps --editable "$APP"
  compile gateway
}

# The model archives, from sources in $1.
models() {
  cd "$1"
  PYTHONPATH="$TOOLS/lib/python3.11/site-packages" PYTHONDONTWRITEBYTECODE=1 \
    "$APP/venv/bin/python" -m model_store.build --out "$APP/model_store"
  rm -f "$APP"/model_store/*.stamp
}

# A read-only root cannot keep byte code later.
compile() {
  "$APP/venv/bin/python" -m compileall -q "$APP/$1"
}

pip_install() {
  "$TOOLS/bin/pip" --python "$APP/venv/bin/python" install --quiet --no-cache-dir \
    --disable-pip-version-check "$@"
}

"$@"

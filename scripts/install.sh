#!/usr/bin/env bash
# Makes .venv with gmeta_tf, its pinned dependencies and Horovod.
#
#   bash scripts/install.sh              for users
#   bash scripts/install.sh test bench   with the packages of these extras (test, bench, gpu)
#
# Horovod is built once, against this TensorFlow, and kept in ${GMETA_CACHE:-~/.cache/gmeta_tf}.
#   PYTHON                   interpreter to use (default python3.11)
#   VENV                     environment to make (default .venv)
#   HOROVOD_GPU_OPERATIONS   NCCL builds the GPU collectives (needs CUDA and NCCL)
#   HOROVOD_WITH_MPI=1       builds with MPI beside Gloo (needs mpicc)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
CACHE=${GMETA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gmeta_tf}
HOROVOD=0.28.1
export PIP_DISABLE_PIP_VERSION_CHECK=1
FLAGS="HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1"
if [ "${HOROVOD_WITH_MPI:-0}" = 1 ]; then FLAGS+=" HOROVOD_WITH_MPI=1"; else FLAGS+=" HOROVOD_WITHOUT_MPI=1"; fi
if [ -n "${HOROVOD_GPU_OPERATIONS:-}" ]; then FLAGS+=" HOROVOD_GPU_OPERATIONS=$HOROVOD_GPU_OPERATIONS"; fi

fail() { echo "error: $1" >&2; exit 1; }
say() { echo "install: $1" >&2; }
pip() { "$VENV/bin/python" -m pip --quiet "$@" 2>&1 | { grep -v '^WARNING: ' || true; } >&2; }

"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
  fail "PYTHON must be Python 3.11. Received: ${PYTHON:-none}. Install it, or set PYTHON to its path."
for tool in gcc g++ cmake make flock; do
  command -v "$tool" >/dev/null || fail "$tool must be installed to build Horovod. Received: none on PATH. apt-get install build-essential cmake"
done

# One install at a time, and none where nothing has changed.
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9
stamp=$(cat scripts/install.sh setup.cfg constraints.txt <(echo "$FLAGS $PYTHON") | sha256sum | cut -d' ' -f1)
installed() { [ "$(head -n 1 "$VENV/.installed" 2>/dev/null)" = "$stamp" ]; }
if installed && grep -qx "extras: $*" "$VENV/.installed"; then exit 0; fi

say "environment $VENV"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
extras=$(IFS=,; echo "$*")
pip install -c constraints.txt setuptools wheel packaging
pip install -c constraints.txt --no-build-isolation -e ".${extras:+[$extras]}"

tensorflow=$("$VENV/bin/python" -c 'import importlib.metadata as m; print(m.version("tensorflow"))')
key=$(echo "$HOROVOD $("$VENV/bin/python" -VV) $tensorflow $FLAGS $(uname -m) $(g++ -dumpfullversion) $(nvcc --version 2>/dev/null | tail -n 1) ${HOROVOD_BUILD_CUDA_CC_LIST:-}" | sha256sum | cut -c1-16)
wheels="$CACHE/horovod-$key"
if ! ls "$wheels"/horovod-*.whl >/dev/null 2>&1; then
  say "building Horovod $HOROVOD once, about two minutes on two cores (log: $CACHE/horovod-build.log)"
  building=$(mktemp -d "$CACHE/building.XXXXXX")
  # shellcheck disable=SC2086  # several flags
  env $FLAGS "$VENV/bin/python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir -w "$building" "horovod==$HOROVOD" >"$CACHE/horovod-build.log" 2>&1 ||
    { tail -n 20 "$CACHE/horovod-build.log" >&2; fail "horovod $HOROVOD must build against TensorFlow $tensorflow. Received: the log above. See $CACHE/horovod-build.log."; }
  mv "$building" "$wheels"
fi
pip install -c constraints.txt "$wheels"/horovod-*.whl
installed || echo "$stamp" >"$VENV/.installed"
echo "extras: $*" >>"$VENV/.installed"
say "done"

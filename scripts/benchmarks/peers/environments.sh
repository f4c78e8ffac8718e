#!/usr/bin/env bash
# Makes .venv-bench-tfra, the environment of peers/tfra_exchange.py, unless it is there: TensorFlow Recommenders Addons
# wants an older TensorFlow, and Horovod built against that. About four minutes on two cores.
#
#   bash scripts/benchmarks/peers/environments.sh
#
#   PYTHON   interpreter to use (default python3.11)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
VENV=.venv-bench-tfra
PINS=(tensorflow==2.16.2 tf-keras==2.16.0 tensorflow-recommenders-addons==0.8.1 numpy==1.26.4 "jsonargparse[signatures]==4.53.0")
BUILD=(setuptools==69.5.1 wheel==0.45.1 packaging==24.2)
HOROVOD=horovod==0.28.1
export PIP_DISABLE_PIP_VERSION_CHECK=1
pip() { "$VENV/bin/python" -m pip --quiet "$@" 2>&1 | { grep -v '^WARNING: ' || true; } >&2; }

stamp="${PINS[*]} ${BUILD[*]} $HOROVOD"
if [ "$(cat "$VENV/.installed" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "environments: making $VENV, about four minutes (log: $VENV/build.log)" >&2
"${PYTHON:-python3.11}" -m venv --clear "$VENV"
pip install "${BUILD[@]}"
pip install "${PINS[@]}"
HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
  pip install --no-build-isolation --no-cache-dir "$HOROVOD" >"$VENV/build.log" 2>&1 || { tail -n 20 "$VENV/build.log" >&2; exit 1; }
echo "$stamp" >"$VENV/.installed"

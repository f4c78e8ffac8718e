#!/usr/bin/env bash
# Does all set-up, then the main job on real data: meta-trains on MovieLens-100K on two ranks and compares on new users.
#
#   bash scripts/quickstart.sh
#
#   RANKS   number of ranks (default 2)
#   RUN     folder for the results, replaced if it exists (default runs/quickstart)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
RANKS=${RANKS:-2}
RUN=${RUN:-runs/quickstart}
bash scripts/install.sh
export PATH="$PWD/.venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=3
# the launcher passes whole lines on; the live line goes to the terminal itself
if [ -t 2 ]; then GMETA_TTY=$(tty <&2) && export GMETA_TTY; fi

# The launcher imports TensorFlow, which then speaks of GPUs whatever the log level.
ranks() { horovodrun -np "$RANKS" "$@" 2> >(grep -v -E 'absl::InitializeLog|cuda_(dnn|blas|fft).cc' >&2); }

if [ ! -e data/ml-100k/manifest.json ]; then python scripts/prepare.py --out data/ml-100k; fi
ranks python scripts/train.py --config movielens_100k --run "$RUN" --overwrite
python scripts/train.py --config movielens_100k --config joint --run "$RUN-joint" --overwrite
python scripts/evaluate.py --run "$RUN" --joint "$RUN-joint"

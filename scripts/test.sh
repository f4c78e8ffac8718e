#!/usr/bin/env bash
# Does all set-up, then formatter, linter, type checker, the site of documentation and every test, on two cores.
#
#   bash scripts/test.sh                      everything
#   bash scripts/test.sh tests/unit -n 0      some of it, one test after another; arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh test
export PATH="$PWD/.venv/bin:$PATH"
ruff format --check --quiet .
ruff check --quiet .
mypy --no-error-summary
site=$(mktemp -d)
said=$(mkdocs build --site-dir "$site" 2>&1) || { echo "$said" >&2; rm -r "$site"; exit 1; } # --quiet would not see warnings
rm -r "$site"
exec python -m pytest -n 2 --dist loadfile "$@"

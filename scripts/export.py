"""Exports a trained run as a TensorFlow SavedModel; `gmeta export` is the same.

python scripts/export.py --run runs/quickstart --out models/movielens/1
"""

import sys

from gmeta_tf.cli.main import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])

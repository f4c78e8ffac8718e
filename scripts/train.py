"""Trains a recommender; `gmeta train` is the same.

One process:  python scripts/train.py --config movielens_100k
Two ranks:    horovodrun -np 2 python scripts/train.py --config movielens_100k
Two hosts:    horovodrun -np 16 -H a:8,b:8 python scripts/train.py --config movielens_100k

docs/training.md tells of configurations, of a run's folder, of stopping and resuming.
"""

import sys

from gmeta_tf.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

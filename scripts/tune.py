"""Searches options at random on validation tasks; `gmeta tune` is the same.

python scripts/tune.py --config movielens_100k --space movielens_100k_space
python scripts/tune.py --config movielens_100k --config joint --space finetuning_space
"""

import sys

from gmeta_tf.cli.main import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])

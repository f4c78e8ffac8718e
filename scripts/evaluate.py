"""Evaluates trained runs on tasks never seen in training; `gmeta evaluate` is the same.

python scripts/evaluate.py --run runs/quickstart --joint runs/quickstart-joint
horovodrun -np 2 python scripts/evaluate.py --run runs/quickstart
"""

import sys

from gmeta_tf.cli.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])

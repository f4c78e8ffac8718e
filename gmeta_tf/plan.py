"""Plans a training on clusters of any size before anything is allocated: `python -m gmeta_tf.plan`
is `gmeta plan`.
"""

import sys

from gmeta_tf.cli.main import main

if __name__ == "__main__":
    main(["plan", *sys.argv[1:]])

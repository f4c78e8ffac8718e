"""What preparation says besides its result, through Python's logging, so that programs may listen.

`gmeta prepare` prints both to the terminal; in a program of one's own, warnings are seen unless it
says otherwise.
"""

import logging

LOG = logging.getLogger("gmeta_tf.metaio")


def tell(message: str):
    """What was decided where nothing was given, such as a delimiter."""
    LOG.info(message)


def warn(message: str):
    """What is probably not meant, such as most tasks dropped."""
    LOG.warning(message)

"""Models as they serve: plain TensorFlow, in one process."""

"""The inner loop: adaptation of a task's fast weights, for any Keras model."""

"""Keras models that train in two loops, and the towers they run on."""

"""A model of a training step's memory, traffic and time, before anything is allocated: pure
arithmetic, no tensors.
"""

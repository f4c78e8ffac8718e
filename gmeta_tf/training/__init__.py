"""What surrounds `model.fit`: callbacks, checkpoints, experiments."""

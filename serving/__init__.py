"""TorchServe: configuration and start."""

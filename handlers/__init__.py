"""TorchServe handlers: one file per model, one shared runtime."""

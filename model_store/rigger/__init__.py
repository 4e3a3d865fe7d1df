"""The rigger: drawings made up with exact ground truth, its network, training and export."""

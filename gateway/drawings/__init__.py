"""Rig → mesh → motion → frames: arrays in, arrays out; no files, network, globals or settings."""

"""Boxes → tracks → masks → pixels. Pure: arrays in, arrays out."""

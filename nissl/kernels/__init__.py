"""Kernels: arrays in, arrays out. They know nothing of models, files or names of labels."""

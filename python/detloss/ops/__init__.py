"""TensorFlow functions over the op library, each beside its registered gradient."""

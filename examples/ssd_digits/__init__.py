"""A small SSD in Keras 3 that finds handwritten digits: data, box coding, model and evaluation."""

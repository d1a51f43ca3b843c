"""Small detectors in Keras 3 that find handwritten digits, and the comparison of two losses by training with both."""

"""What the Keras 3 and the tf_keras losses share. Nothing here imports either Keras."""

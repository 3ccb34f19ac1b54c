"""TensorRT and TensorRT for RTX, always in a process of their own."""

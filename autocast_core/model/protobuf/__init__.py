"""The lazy reader and writer of ONNX's protobuf form."""

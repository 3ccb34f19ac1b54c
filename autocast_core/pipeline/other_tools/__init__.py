"""What other tools' users bring along: AutoCast's functions, onnxconverter-common's, and settings in their forms."""

"""What sets of FP32 nodes cost, and the sets that trade it against error best."""

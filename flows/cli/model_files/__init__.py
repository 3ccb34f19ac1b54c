"""Commands about model files, whoever made them."""

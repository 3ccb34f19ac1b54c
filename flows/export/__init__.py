"""A registered version as an artifact that others deploy: a folder, a Triton model repository, an OCI image layout."""

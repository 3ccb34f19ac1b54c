"""Objects of S3: the client, its errors, locks, downloads and uploads."""

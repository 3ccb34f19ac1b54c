"""Makes a model and its data, and puts them into a bucket of the S3 server that the environment names."""

import boto3
import onnx

from flows.demo.embedding_model import make_model, write_data

BUCKET = "examples"

if __name__ == "__main__":
    onnx.save(make_model(), "embedding.onnx")
    write_data("data.npz")
    store = boto3.client("s3")
    if BUCKET not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
        store.create_bucket(Bucket=BUCKET)
    store.upload_file("embedding.onnx", BUCKET, "embedding.onnx")
    store.upload_file("data.npz", BUCKET, "validation/data.npz")

"""Makes the model and its data, and puts them into a bucket of the S3 server that the environment names."""

import io

import boto3
import numpy as np
from make_model import make_model

BUCKET = "examples"

if __name__ == "__main__":
    store = boto3.client("s3")
    if BUCKET not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
        store.create_bucket(Bucket=BUCKET)
    store.put_object(Bucket=BUCKET, Key="embedding.onnx", Body=make_model(0).SerializeToString())
    data = io.BytesIO()
    np.savez(data, x=np.random.default_rng(1).normal(scale=20, size=(64, 8)).astype(np.float32))
    store.put_object(Bucket=BUCKET, Key="validation/data.npz", Body=data.getvalue())

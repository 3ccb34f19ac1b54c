"""How large a model is, before it is fetched."""

from __future__ import annotations

from tasks.storage.local import find_model
from tasks.storage.objects.s3 import connect, find
from tasks.storage.uri import LocalLocation, RegistryLocation, S3Location, parse_uri


def bytes_of(uri: str) -> int:
    """Bytes of the model at `uri` and of the data file that ONNX writers put beside it (NAME.data), as far as that can
    be asked; 0 for a registered version whose files only MLflow can list.

    InputError and ServiceError as fetching it.
    """
    location = parse_uri(uri)
    if isinstance(location, LocalLocation):
        model = find_model(location.path)
        data = model.with_name(model.name + ".data")
        return model.stat().st_size + (data.stat().st_size if data.is_file() else 0)
    if isinstance(location, RegistryLocation):
        from tasks.storage.model_registry import find_version

        source = find_version(location).source
        return bytes_of(source) if source.startswith("s3://") else 0
    client = connect()
    main = location if location.key.endswith(".onnx") else location.under("model.onnx")
    data_beside = S3Location(main.bucket, main.key + ".data")
    found = (find(client, each) for each in (main, data_beside))
    return sum(each.size for each in found if each is not None)

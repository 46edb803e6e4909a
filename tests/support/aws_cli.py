"""The part of the AWS CLI that the documentation uses: ``aws SERVICE OPERATION --option value``.

It sends what the CLI sends, and refuses options that the operation does not have. The CLI itself is
no package of ours: it requires its own version of botocore.
"""

import json
import sys
from pathlib import Path

import boto3
from botocore import xform_name


def main(service: str, operation: str, *options: str) -> None:
    client = boto3.client(service)
    method = operation.replace("-", "_")
    action = client.meta.method_to_api_mapping[method]
    members = client.meta.service_model.operation_model(action).input_shape.members
    names = {f"--{xform_name(name, '-')}": name for name in members}
    parameters = {
        names[option]: _value(text)
        for option, text in zip(options[::2], options[1::2], strict=True)
    }
    result = getattr(client, method)(**parameters)
    del result["ResponseMetadata"]
    print(json.dumps(result, default=str))


def _value(text: str) -> str:
    return Path(text.removeprefix("file://")).read_text() if text.startswith("file://") else text


if __name__ == "__main__":
    main(*sys.argv[1:])

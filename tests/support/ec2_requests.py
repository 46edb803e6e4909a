"""What is wrong with a request to EC2: its parameters by botocore's model, and its signature."""

import hashlib
import hmac
import re
from functools import cache, reduce
from urllib.parse import parse_qsl

from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from tests.support.callers import secrets_of
from tests.support.package import builtin_models

_SCALARS = {
    "string": re.compile(r".*", re.DOTALL),
    "integer": re.compile(r"-?[0-9]+"),
    "boolean": re.compile(r"true|false"),
}


class UncheckedSignatureWarning(UserWarning):
    """The secret of a caller is not registered, so its signature was not checked."""


@cache
def _model() -> ServiceModel:
    return ServiceModel(builtin_models().load_service_model("ec2", "service-2"), "ec2")


def parameter_problems(body: str) -> list[str]:
    """Compare the parameters of a request with the input shape of its action."""
    pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
    parameters = dict(pairs)
    problems = [] if len(parameters) == len(pairs) else [f"a parameter is repeated: {body}"]
    if parameters.pop("Version", "") != _model().api_version:
        problems.append("the version of the API is wrong")
    action = parameters.pop("Action", "")
    if action not in _model().operation_names:
        return [*problems, f"there is no action {action!r}"]
    tree: dict = {}
    for name, value in parameters.items():
        *parents, last = name.split(".")
        reduce(lambda branch, part: branch.setdefault(part, {}), parents, tree)[last] = value
    shape = _model().operation_model(action).input_shape
    return problems + [f"{action}: {problem}" for problem in _problems(tree, shape, "")]


def _problems(value, shape: Shape, name: str):
    if isinstance(shape, StructureShape | ListShape) and not isinstance(value, dict):
        yield f"{name} is not a {shape.type_name}"
    elif isinstance(shape, StructureShape):
        members = {_query_name(key, member): (key, member) for key, member in shape.members.items()}
        present = {members[part][0] for part in value if part in members}
        for required in set(shape.required_members) - present:
            yield f"{name}.{required} is missing"
        for part, inner in value.items():
            if part in members:
                yield from _problems(inner, members[part][1], f"{name}.{part}")
            else:
                yield f"{name} has no member {part}"
    elif isinstance(shape, ListShape):
        if list(value) != [str(number) for number in range(1, len(value) + 1)]:
            yield f"{name} is not numbered from 1: {list(value)}"
        for number, inner in value.items():
            yield from _problems(inner, shape.member, f"{name}.{number}")
    elif not (isinstance(value, str) and _SCALARS[shape.type_name].fullmatch(value)):
        yield f"{name} is not of type {shape.type_name}: {value!r}"
    elif (enum := shape.metadata.get("enum")) and value not in enum:
        yield f"{name} is none of {enum}: {value!r}"


def _query_name(key: str, member: Shape) -> str:
    # EC2 protocol: queryName, or else locationName with a capital.
    name = member.serialization.get("queryName") or member.serialization.get("name", key)
    return name[0].upper() + name[1:]


def access_key_id(authorization: str) -> str:
    """Return the access key id of an ``Authorization`` header."""
    return re.search(r"Credential=([^,]+)", authorization)[1].rsplit("/", 4)[0]


def is_signed(environ, body: bytes) -> bool | None:
    """Compute Signature Version 4 again; None when the secret of the caller is not known."""
    authorization = environ["HTTP_AUTHORIZATION"]
    id = access_key_id(authorization)
    if not secrets_of(id):
        return None
    fields = dict(re.findall(r"(SignedHeaders|Signature)=([^, ]+)", authorization))
    scope = re.search(r"Credential=([^,]+)", authorization)[1][len(id) + 1 :]
    names = fields["SignedHeaders"].split(";")
    if "HTTP_X_AMZ_SECURITY_TOKEN" in environ and "x-amz-security-token" not in names:
        return False
    headers = "".join(f"{name}:{_header(environ, name)}\n" for name in names)
    request = "\n".join(
        [
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ["QUERY_STRING"],
            headers,
            fields["SignedHeaders"],
            hashlib.sha256(body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", environ["HTTP_X_AMZ_DATE"], scope, digest])
    return any(
        hmac.compare_digest(_signature(secret, scope, text), fields["Signature"])
        for secret in secrets_of(id)
    )


def _header(environ, name: str) -> str:
    key = name.upper().replace("-", "_")
    text = environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"]
    return " ".join(text.split())


def _signature(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()

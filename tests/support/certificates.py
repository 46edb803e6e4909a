"""TLS certificates of an authority made for the tests of one process."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path


def make_certificate(folder):
    """Write a certificate authority and a key with a certificate of it for this host."""
    shutil.copytree(_made().name, folder, dirs_exist_ok=True)
    return folder / "ca.pem", folder / "key.pem", folder / "crt.pem"


@cache
def _made():
    folder = tempfile.TemporaryDirectory()
    ca, key, signed, names = (
        Path(folder.name) / name for name in ("ca.pem", "key.pem", "crt.pem", "names")
    )
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:cloud.example.org")
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"openssl req -x509 {new_key} -subj /CN=ca -keyout {ca}.key -out {ca}",
        f"openssl req {new_key} -subj /CN=cloud -keyout {key} -out {signed}.req",
        f"openssl x509 -req -in {signed}.req -CA {ca} -CAkey {ca}.key -CAcreateserial "
        f"-extfile {names} -out {signed}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    return folder

"""TLS certificates of an authority made for one test."""

import subprocess


def make_certificate(folder):
    """Make a certificate authority and a key with a certificate of it for this host."""
    ca, key, signed, names = (folder / name for name in ("ca.pem", "key.pem", "crt.pem", "names"))
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:cloud.example.org")
    for command in (
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout {ca}.key -out {ca}",
        f"openssl req -newkey rsa:2048 -nodes -subj /CN=cloud -keyout {key} -out {signed}.req",
        f"openssl x509 -req -in {signed}.req -CA {ca} -CAkey {ca}.key -CAcreateserial "
        f"-extfile {names} -out {signed}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    return ca, key, signed

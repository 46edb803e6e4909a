"""The credentials of a caller."""

import base64

import pytest

from dcproxy.auth.keys import Credentials, parse_credentials
from dcproxy.deltacloud.errors import ApiError

KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY/and/more/of/it"
BASE64 = base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode()


def test_secret_is_not_in_a_repr():
    assert "hidden" not in repr(Credentials("AKID", "hidden"))


@pytest.mark.parametrize(
    "encoded",
    [
        BASE64,
        BASE64.rstrip("="),
        f"{BASE64[:60]}\n{BASE64[60:]}\n",
        f"{BASE64[:60]}\r\n {BASE64[60:]}",
        f"  {BASE64[:4]} {BASE64[4:]}\t",
        base64.encodebytes(f"{KEY_ID}:{SECRET}".encode()).decode(),
        f"{BASE64.rstrip('=')}====",
    ],
)
def test_base64_may_have_white_space_and_lack_its_padding(encoded):
    assert parse_credentials(f"Basic {encoded}") == Credentials(KEY_ID, SECRET)


@pytest.mark.parametrize("secret", ["s", "se", "sec", "secr"])
def test_base64_of_any_length_may_lack_its_padding(secret):
    encoded = base64.b64encode(f"A:{secret}".encode()).decode().rstrip("=")
    assert parse_credentials(f"Basic {encoded}") == Credentials("A", secret)


@pytest.mark.parametrize("encoded", ["", "=", "Q", "QUJDR", "QTp!ZQ", "QTpz=ZQ==", "QTpz-_"])
def test_other_text_is_401(encoded):
    with pytest.raises(ApiError) as caught:
        parse_credentials(f"Basic {encoded}")
    assert caught.value.status == 401


def test_session_token_is_not_in_a_repr():
    assert "hidden" not in repr(Credentials("ASIA", "secret", "hidden"))

"""Readers of what dcproxy answers."""

from lxml import etree
from webtest import TestResponse


def read_xml(response: TestResponse) -> etree._Element:
    """Parse an XML response strictly."""
    assert response.headers["Content-Type"] == "application/xml"
    return etree.fromstring(response.body)

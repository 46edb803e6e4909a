"""Deltacloud documents in XML, as the API page shows them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from dcproxy.deltacloud import protocol
from dcproxy.deltacloud.models import Model, StorageSnapshot, StorageVolume
from dcproxy.deltacloud.urls import Urls, is_plain, segment

HEADERS = {"Content-Type": "application/xml"}

_DECLARATION = "<?xml version='1.0' encoding='utf-8' ?>\n"

_SPECIAL = re.compile("[&<>\r]")

# Characters that XML 1.0 cannot hold, not even as character references.
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LINE_ENDS = str.maketrans({"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def document(name: str, value: Any, urls: Urls) -> str:
    """Write one document; ``Renderer`` has the names and values."""
    # libdeltacloud expects errors to begin with ``<error``.
    declaration = "" if name == "error" else _DECLARATION
    return f"{declaration}{_writer(name, urls, '')(value)}"


def collection(name: str, pages: Iterable[Sequence[Model]], urls: Urls) -> Iterator[str]:
    """Write the list of a collection."""
    write = _writer(name.removesuffix("s"), urls, "  ")

    def text(page: Sequence[Model]) -> str:
        return "".join(map(write, page))

    yield f"{_DECLARATION}<{name}>\n"
    # Not a loop: its page would stay in memory while a slow client reads the text.
    yield from map(text, pages)
    yield f"</{name}>\n"


def _writer(name: str, urls: Urls, indent: str) -> Callable[[Any], str]:
    """Return what writes a document without its declaration; snapshots with some indentation."""
    if name == "storage_volume":
        return partial(_volume, urls)
    if name != "storage_snapshot":
        return partial(getattr(_TEMPLATE, name), urls=urls)
    snapshots_url = str(escape(urls.collection("storage_snapshots")))
    volumes_url = str(escape(urls.collection("storage_volumes")))
    return partial(_snapshot, snapshots_url, volumes_url, indent)


def _snapshot(snapshots_url: str, volumes_url: str, indent: str, snapshot: StorageSnapshot) -> str:
    id, name, description, created, _, state, volume_id, _, _ = snapshot
    id_in_url, volume_in_url = id, volume_id
    if not is_plain(f"{id}{volume_id}{state}"):  # few, and one check takes a third of three
        id_in_url, volume_in_url = segment(id), segment(volume_id)
        id, volume_id, state = _attribute(id), _attribute(volume_id), _text(state)
    described = (
        f"{indent}  <description>{_text(description)}</description>\n" if description else ""
    )
    timestamp = f"{indent}  <created>{created}</created>\n" if created else ""
    volume = (
        f"{indent}  <storage_volume href='{volumes_url}/{volume_in_url}' id='{volume_id}'>"
        "</storage_volume>\n"
        if volume_id
        else ""
    )
    return (
        f"{indent}<storage_snapshot href='{snapshots_url}/{id_in_url}' id='{id}'>\n"
        f"{indent}  <name>{_text(name)}</name>\n"
        f"{described}{timestamp}{indent}  <state>{state}</state>\n"
        f"{volume}{indent}</storage_snapshot>\n"
    )


def _volume(urls: Urls, volume: StorageVolume) -> str:
    href = escape(urls.member("storage_volumes", volume.id))
    capacity = f"  <capacity unit='GB'>{volume.capacity}</capacity>\n"
    zone = volume.realm_id
    realm_href = escape(urls.member("realms", zone))
    realm = f"  <realm href='{realm_href}' id='{_attribute(zone)}'></realm>\n"
    device = mount = ""
    for instance_id, name in volume.mounts[:1]:
        # The Ruby gem 1.1.3 reads the first descendant "device", which is empty in the mount.
        device = f"  <device>{_text(name)}</device>\n"
        mount = (
            f"  <mount><instance id='{_attribute(instance_id)}'/>"
            f"<device name='{_attribute(name)}'/></mount>\n"
        )
    actions = "".join(
        f"    <link rel='{action.rel}' method='{action.method}' href='{href}{action.path}'/>\n"
        for action in volume.actions
    )
    # The Ruby gem 0.3.0 shows no state without the element actions, even an empty one.
    return (
        f"<storage_volume href='{href}' id='{_attribute(volume.id)}'>\n"
        f"{_element('created', volume.created)}{capacity if volume.capacity is not None else ''}"
        f"{_element('name', volume.name)}{_element('description', volume.description)}"
        f"{device}{realm if zone else ''}{_element('realm_id', zone)}"
        f"  <state>{_text(volume.state)}</state>\n"
        f"{mount}  <actions>\n{actions}  </actions>\n</storage_volume>\n"
    )


def _element(name: str, text: str) -> str:
    return f"  <{name}>{_text(text)}</{name}>\n" if text else ""


def _text(text: str) -> str:
    if not _SPECIAL.search(text):
        return text  # most texts, in a sixth of the time
    # A parser reads a literal carriage return as a line feed (XML 1.0, 2.11).
    return str(escape(text)).replace("\r", "&#13;")


def _attribute(text: str) -> str:
    # A parser reads literal tabs and line ends in attributes as spaces (XML 1.0, 3.3.3).
    return escape(_NO_CHARACTER.sub("\ufffd", text)).translate(_LINE_ENDS)


def _cdata(text: str) -> Markup:
    inner = _NO_CHARACTER.sub("\ufffd", text).replace("]]>", "]]]]><![CDATA[>")
    return Markup(f"<![CDATA[{inner}]]>")  # noqa: S704


def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["protocol"] = protocol
    environment.filters.update(
        attribute=_attribute,
        cdata=_cdata,
        text=lambda text: Markup(_text(text)),  # noqa: S704
    )
    template = files(__package__) / "documents.xml.jinja"
    return environment.from_string(template.read_text("utf-8")).module


# A template takes three times as long as the functions above, whose lists may be long.
_TEMPLATE = _template()

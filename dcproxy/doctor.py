"""``dcproxy --doctor``: tells what keeps dcproxy from its work, and changes nothing.

Writes are asked for with ``DryRun``: EC2 checks the permission and does nothing (EC2 API reference,
"Common query parameters").
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from getpass import getpass
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from paste.deploy.loadwsgi import APP, loadcontext

from dcproxy import app
from dcproxy.auth.keys import Credentials
from dcproxy.auth.passwords import read_passwords
from dcproxy.auth.profiles import read_profiles
from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.failures import clock_skew
from dcproxy.ec2.session import AccessKey, isolated_session
from dcproxy.operations.translation import api_error
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings, from_options

OK, WRONG, ALLOWED, MISSING, NOT_CHECKED = "ok", "wrong", "allowed", "missing", "not checked"
_COLOURS = {OK: 32, ALLOWED: 32, WRONG: 31, MISSING: 31, NOT_CHECKED: 33}

_MAX_SKEW = 60
"""Seconds. EC2 refuses signatures with a time that is five minutes off."""

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


class Read(NamedTuple):
    """A permission to read, and the call that shows it."""

    action: str
    needed_for: str
    parse: Callable[[bytes], Any]
    params: dict[str, Any]


_OWN = {"OwnerIds": ["self"], "MaxResults": 5}
_READS = (
    Read("DescribeAvailabilityZones", "realms, new volumes", reader.zones, {}),
    Read("DescribeSnapshots", "snapshots", reader.detailed_snapshots, _OWN),
    Read("DescribeVolumes", "volumes", reader.volumes, {"MaxResults": 100}),
)


class Write(NamedTuple):
    """A permission to change something, and the call that shows it.

    ``kinds`` are the resources that the permission is for. ``params`` are those of the call, each
    with the kind of thing that it names. ``create`` is the call whose tags the permission is for.
    """

    action: str
    needed_for: str
    kinds: tuple[str, ...]
    params: dict[str, str]
    create: str = ""


_SNAPSHOT_OF = {"VolumeId": "volume"}
_VOLUME_OF = {"SnapshotId": "snapshot", "AvailabilityZone": "zone"}
_ATTACHED = {"VolumeId": "attached volume", "InstanceId": "instance"}
_ATTACH = _ATTACHED | {"Device": "device"}
_WRITES = (
    Write("CreateSnapshot", "creating snapshots", ("snapshot", "volume"), _SNAPSHOT_OF),
    Write("CreateTags", "tags of new snapshots", ("snapshot",), _SNAPSHOT_OF, "CreateSnapshot"),
    Write("CreateVolume", "creating volumes", ("snapshot", "volume"), _VOLUME_OF),
    Write("CreateTags", "tags of new volumes", ("volume",), _VOLUME_OF, "CreateVolume"),
    Write("AttachVolume", "attaching volumes", ("instance", "volume"), _ATTACH),
    Write("DetachVolume", "detaching volumes", ("instance", "volume"), _ATTACHED),
    Write("DeleteSnapshot", "deleting snapshots", ("snapshot",), {"SnapshotId": "snapshot"}),
    Write("DeleteVolume", "deleting volumes", ("volume",), {"VolumeId": "volume"}),
)

_REMEDIES = {
    "certificate": "set AWS_CA_BUNDLE to a file with the authority of the certificate",
    "clock": "set the clock, by NTP",
    "connect timeout": "open the firewall, or set HTTPS_PROXY",
    "dns": "check the name in ec2_endpoint_url, DNS, and whether HTTPS_PROXY is needed",
    "refused": "check the port in ec2_endpoint_url, and what should listen there",
    "tls": "check scheme and port of ec2_endpoint_url",
}
"""What to do, by the kind of ``EC2Error.cause``."""

_NO_EC2 = "check that EC2 answers there, and HTTPS_PROXY"
_BAD_KEY = "compare id and secret of the key with IAM, where it may be inactive or deleted"
_EXPIRED = "get new temporary credentials"
NO_KEY = AccessKey("AKIADCPROXYDOCTOR000", "no key")

Finding = dict[str, str]
Report = dict[str, Any]
Call = Callable[..., Any]


def _finding(check: str, result: str, text: str, note: str = "") -> Finding:
    """``note`` says what to do where something is wrong, or why it was not checked."""
    return {"check": check, "result": result, "text": text, "note": note}


def run(file: Path | str, check: Callable[[], object], account: str | None, as_json: bool) -> int:
    """Print what is wrong for the accounts of a Paste file, or for the key of the caller.

    ``check`` raises ``SettingError`` when dcproxy cannot start with the file. ``account`` selects
    one. Returns the exit code: 0, or 1 when something is wrong or missing. Raises ``SettingError``
    for an account that does not exist, and for keys that nobody can be asked for.
    """
    show: Callable[[str], None] = (lambda text: None) if as_json else print
    reports: list[Report] = []
    try:
        check()
        settings = _settings(file)
        of_file = _finding("file", OK, f"{file} is correct")
    except SettingError as error:
        of_file = _finding("file", WRONG, str(error), "correct it: --check tells when it is right")
    show(_line(of_file))
    if of_file["result"] == OK:
        for report in _reports(settings, account):
            show(_text(report))
            reports.append(report)
    right = sum(report["is_right"] for report in reports)
    show(f"\n{right} of {len(reports)} without a fault")
    if as_json:
        print(json.dumps({"file": of_file, "reports": reports, "right": right}, indent=2))
    return 0 if reports and right == len(reports) else 1


def _settings(file: Path | str) -> Settings:
    """Read the options of the application, or of a filter in its pipeline."""
    context = loadcontext(APP, f"config:{file}")
    parts = [context, *getattr(context, "filter_contexts", ())]
    ours = (app.app_factory, app.filter_factory)
    options = next((part.local_conf for part in parts if part.object in ours), None)
    if options is None:
        raise SettingError(f"{file}: its application is not egg:dcproxy, and has no filter of it")
    return from_options(options)


def _reports(settings: Settings, account: str | None) -> Iterator[Report]:
    names = [*read_passwords(Path(settings.accounts))] if settings.accounts else []
    if account and account not in names:
        raise SettingError(f"there is no account {account}: {', '.join(names) or 'there are none'}")
    doctor = _Doctor(settings)
    if not names:
        credentials = _callers_credentials()
        yield doctor.report("", settings.provider, lambda: AccessKey(*credentials.access_key()))
        return
    profiles = read_profiles(settings, names, Runtime().monotonic, lambda result: None)
    for name in [account] if account else names:
        access_key = partial(profiles[name].access_key, settings.deadline)
        yield doctor.report(name, profiles[name].region or settings.provider, access_key)


def _callers_credentials() -> Credentials:
    """Take the key from the environment, or ask for it. Raises ``SettingError``."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if not all(map(os.environ.get, names)) and not sys.stdin.isatty():
        raise SettingError(f"there are no accounts, and no key in {' and '.join(names)}")
    id, secret = (os.environ.get(name) or getpass(f"{name}: ") for name in names)
    return Credentials(id, secret, os.environ.get("AWS_SESSION_TOKEN", ""))


class _Doctor:
    """Examines one key after another, with the client that serves requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runtime = Runtime()
        self._ec2 = EC2Client(
            settings, self._runtime, lambda action, result: None, lambda limit: None
        )
        self._networks: dict[str, list[Finding]] = {}

    def report(self, account: str, region: str, access_key: Callable[[], AccessKey]) -> Report:
        """Examine a key in a region. Never raises."""
        if region not in self._networks:
            self._networks[region] = list(self._network(region))
        checks, permissions, policy = [*self._networks[region]], list[Finding](), None
        if checks[0]["result"] == OK:
            try:
                key = access_key()
            except (ApiError, EC2Error) as error:
                note = "correct the profile of the account, or the trust policy of its role"
                checks.append(_finding("credentials", WRONG, str(error), account and note))
            else:
                call = partial(self._answer, region, key)
                reads = {name: call(name, parse, **params) for name, _, parse, params in _READS}
                checks.append(_credentials(key, reads))
                if checks[-1]["result"] == OK:
                    permissions = list(_permissions(call, reads))
                    policy = _missing_policy(permissions, region)
        results = {finding["result"] for finding in (*checks, *permissions)}
        return {
            "account": account,
            "region": region,
            "checks": checks,
            "permissions": permissions,
            "missing_policy": policy,
            "is_right": not results & {WRONG, MISSING},
        }

    def _answer(
        self, region: str, key: AccessKey, action: str, parse: Callable[[bytes], Any], **params: Any
    ) -> Any:
        """Return what EC2 has sent, or the ``EC2Error``."""
        deadline = self._runtime.monotonic() + self._settings.deadline
        log = RequestLog(request_id="doctor", method="", path="")
        try:
            return self._ec2.call(region, key, log, deadline, parse, action, **params)
        except EC2Error as error:
            return error

    def _network(self, region: str) -> Iterator[Finding]:
        """Call EC2 with a key that does not exist: its refusal shows that it was reached."""
        host, started = self._ec2.hosts[region], self._runtime.monotonic()
        answer = self._answer(
            region, NO_KEY, "DescribeAvailabilityZones", reader.zones, is_repeatable=False
        )
        seconds = self._runtime.monotonic() - started
        if isinstance(answer, EC2Error) and not answer.code:
            yield _finding("network", WRONG, f"{host}: {answer}", _remedy(answer, _NO_EC2))
            return
        yield _finding("network", OK, f"{host} responded in {seconds:.2f} s")
        cause: Any = getattr(answer, "__cause__", None)
        now = self._runtime.unix_time()
        skew = clock_skew(cause.response, now) if isinstance(cause, ClientError) else None
        if skew is None:
            yield _finding("clock", NOT_CHECKED, f"{host} does not send its time with a refusal")
        elif abs(skew) > _MAX_SKEW:
            yield _finding("clock", WRONG, f"it is {skew:+.0f} s off", _REMEDIES["clock"])
        else:
            yield _finding("clock", OK, f"it is {skew:+.0f} s off")


def _remedy(error: EC2Error, other: str) -> str:
    return _REMEDIES.get(error.cause.partition(":")[0], other)


def _credentials(key: AccessKey, reads: Mapping[str, Any]) -> Finding:
    """Tell whether EC2 knows a key: a refusal for lack of permissions shows that it does."""
    errors = [answer for answer in reads.values() if isinstance(answer, EC2Error)]
    text = f"the key …{key.id[-4:]}"
    for error in errors:
        if error.cause.startswith("clock") or api_error(error).status == 401:
            note = _EXPIRED if error.code == "ExpiredToken" else _BAD_KEY
            return _finding("credentials", WRONG, f"{text}: {error}", _remedy(error, note))
    if all(error.outcome is not Outcome.REFUSED for error in errors) and len(errors) == len(reads):
        return _finding("credentials", WRONG, f"{text}: {errors[0]}", _NO_EC2)
    owners = {snapshot.owner_id for snapshot in _records(reads["DescribeSnapshots"])}
    return _finding("credentials", OK, " of the AWS account ".join([text, *owners]))


def _records(answer: Any) -> Any:
    return () if isinstance(answer, EC2Error) else answer.records


def _permissions(call: Call, reads: Mapping[str, Any]) -> Iterator[Finding]:
    for read in _READS:
        yield _finding(f"ec2:{read.action}", *_result(reads[read.action], read.needed_for))
    things, results = _things(reads), dict[str, str]()
    reason = _reason_not_to_write(call)
    # Creates come first: a cloud that turns out to ignore DryRun is not asked to delete.
    for write in _WRITES:
        params: dict[str, Any] = {name: things[kind] for name, kind in write.params.items()}
        absent = next((kind for kind in write.params.values() if not things[kind]), None)
        result, text, note = NOT_CHECKED, write.needed_for, ""
        if reason or absent:
            note = reason or f"there is no {absent}"
        elif write.create and results[write.create] != ALLOWED:
            note = f"this shows once {write.create} is allowed"
        else:
            if write.create:
                tags = [{"Key": "Name", "Value": "dcproxy"}]
                params["TagSpecifications"] = [{"ResourceType": write.kinds[0], "Tags": tags}]
            answer = call(write.create or write.action, bytes, DryRun=True, **params)
            result, text, note = _result(answer, text)
            if not isinstance(answer, EC2Error):
                result, note = WRONG, "the cloud ignored DryRun and has carried this out: undo it"
                reason = "the cloud ignores DryRun"
        results[write.action] = result
        yield _finding(f"ec2:{write.action}", result, text, note)


def _things(reads: Mapping[str, Any]) -> dict[str, str]:
    """Name one thing of each kind, as far as there is one."""
    zones, snapshots, volumes = map(_records, reads.values())
    attached = next((volume for volume in volumes if volume.attachments), None)
    return {
        "zone": zones[0].name if zones else "",
        "snapshot": snapshots[0].id if snapshots else "",
        "volume": volumes[0].id if volumes else "",
        "attached volume": attached.id if attached else "",
        "instance": attached.attachments[0].instance_id if attached else "",
        "device": "/dev/sdf",
    }


def _reason_not_to_write(call: Call) -> str:
    """Ask for reads with DryRun: a cloud that carries them out would carry out writes too."""
    for read in _READS:
        answer = call(read.action, bytes, DryRun=True)
        if not isinstance(answer, EC2Error):
            return "the cloud ignores DryRun"
        if answer.code == "DryRunOperation":
            return ""
    return "no read shows that the cloud knows DryRun"


def _result(answer: Any, text: str) -> tuple[str, str, str]:
    if not isinstance(answer, EC2Error) or answer.code == "DryRunOperation":
        return ALLOWED, text, ""
    return (MISSING, text, "") if answer.code in _DENIED else (NOT_CHECKED, text, str(answer))


def _missing_policy(permissions: list[Finding], region: str) -> dict[str, Any] | None:
    """Write the IAM policy that allows what is missing; a create needs its tags too."""
    missing = {finding["check"] for finding in permissions if finding["result"] == MISSING}
    if not missing:
        return None
    partition = isolated_session().get_partition_for_region(region)
    reads = [f"ec2:{read.action}" for read in _READS if f"ec2:{read.action}" in missing]
    statements = [{"Effect": "Allow", "Action": reads, "Resource": "*"}] if reads else []
    for write, finding in zip(_WRITES, permissions[len(_READS) :], strict=True):
        if finding["result"] == MISSING or f"ec2:{write.create}" in missing:
            statement: dict[str, Any] = {
                "Effect": "Allow",
                "Action": finding["check"],
                "Resource": [f"arn:{partition}:ec2:*:*:{kind}/*" for kind in write.kinds],
            }
            if write.create:
                statement["Condition"] = {"StringEquals": {"ec2:CreateAction": write.create}}
            statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def _text(report: Report) -> str:
    lines = [f"\n{report['account'] or 'The key of the caller'} in {report['region']}"]
    lines += map(_line, report["checks"])
    if report["permissions"]:
        lines.append(f"  {'action':<30} {'needed for':<24} result")
    for finding in report["permissions"]:
        note = f": {finding['note']}" if finding["note"] else ""
        result = _coloured(finding["result"])
        lines.append(f"  {finding['check']:<30} {finding['text']:<24} {result}{note}")
    if report["missing_policy"]:
        lines += ["Missing IAM policy:", json.dumps(report["missing_policy"], indent=2)]
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    note = f" To do: {finding['note']}." if finding["note"] else ""
    return f"  {finding['check']:<12} {_coloured(finding['result'])}: {finding['text']}{note}"


def _coloured(result: str) -> str:
    return f"\x1b[{_COLOURS[result]}m{result}\x1b[0m" if sys.stdout.isatty() else result

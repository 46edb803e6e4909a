"""``dcproxy --doctor``: tells what keeps dcproxy from its work, and changes nothing."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from getpass import getpass
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import APP, loadcontext

from dcproxy import app
from dcproxy.auth.keys import Credentials
from dcproxy.auth.passwords import read_passwords
from dcproxy.auth.profiles import read_profiles
from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import permissions, reader
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome, clock_skew
from dcproxy.ec2.permissions import MISSING, NOT_CHECKED, OK, WRONG, Finding, finding
from dcproxy.ec2.session import AccessKey
from dcproxy.operations.translation import api_error
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings, from_options

_COLOURS = {OK: 32, permissions.ALLOWED: 32, WRONG: 31, MISSING: 31, NOT_CHECKED: 33}

_MAX_SKEW = 60
"""Seconds. EC2 refuses signatures with a time that is five minutes off."""

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

Report = dict[str, Any]


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
    except SettingError as error:
        of_file = finding("file", WRONG, str(error), "correct it: --check tells when it is right")
        show(_line(of_file))
    else:
        of_file = finding("file", OK, f"{file} is correct")
        show(_line(of_file))
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
    profiles = read_profiles(settings, names, Runtime(), lambda result: None)
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
        self._deadline = settings.deadline
        self._runtime = Runtime()
        self._ec2 = EC2Client(settings, self._runtime, lambda *labels: None, lambda limit: None)
        self.network = cache(self._network)

    def report(self, account: str, region: str, access_key: Callable[[], AccessKey]) -> Report:
        """Examine a key in a region."""
        checks, actions = [*self.network(region)], list[Finding]()
        if checks[0]["result"] == OK:
            try:
                key = access_key()
            except (ApiError, EC2Error) as error:
                note = "correct the profile of the account, or the trust policy of its role"
                checks.append(finding("credentials", WRONG, str(error), account and note))
            else:
                call = partial(self.answer, region, key)
                reads = permissions.read(call)
                checks.append(_credentials(key, reads))
                if checks[-1]["result"] == OK:
                    actions = list(permissions.examine(call, reads))
        results = {one["result"] for one in (*checks, *actions)}
        return {
            "account": account,
            "region": region,
            "checks": checks,
            "permissions": actions,
            "missing_policy": permissions.missing_policy(actions, region),
            "is_right": not results & {WRONG, MISSING},
        }

    def answer(
        self, region: str, key: AccessKey, action: str, parse: Callable[[bytes], Any], **params: Any
    ) -> Any:
        """Return what EC2 has sent, or the ``EC2Error``."""
        deadline = self._runtime.monotonic() + self._deadline
        log = RequestLog(request_id="doctor", method="", path="")
        try:
            return self._ec2.call(region, key, log, deadline, parse, action, **params)
        except EC2Error as error:
            return error

    def _network(self, region: str) -> tuple[Finding, ...]:
        """Call EC2 with a key that does not exist: its refusal shows that it was reached."""
        host, started = self._ec2.hosts[region], self._runtime.monotonic()
        answer = self.answer(
            region, NO_KEY, "DescribeAvailabilityZones", reader.zones, is_repeatable=False
        )
        if isinstance(answer, EC2Error) and not answer.code:
            text = f"{host}: {answer}"
            return (finding("network", WRONG, text, _remedy(answer, _NO_EC2)),)
        seconds = self._runtime.monotonic() - started
        reached = finding("network", OK, f"{host} responded in {seconds:.2f} s")
        response = getattr(getattr(answer, "__cause__", None), "response", {})
        skew = clock_skew(response, self._runtime.unix_time())
        if skew is None:
            text = f"{host} does not send its time with a refusal"
            return reached, finding("clock", NOT_CHECKED, text)
        result, note = (WRONG, _REMEDIES["clock"]) if abs(skew) > _MAX_SKEW else (OK, "")
        return reached, finding("clock", result, f"it is {skew:+.0f} s off", note)


def _remedy(error: EC2Error, other: str) -> str:
    return _REMEDIES.get(error.cause.partition(":")[0], other)


def _credentials(key: AccessKey, reads: Mapping[str, Any]) -> Finding:
    """Tell whether EC2 knows a key: a refusal for lack of permissions shows that it does."""
    errors = [answer for answer in reads.values() if isinstance(answer, EC2Error)]
    text = f"the key …{key.id[-4:]}"
    for error in errors:
        if error.cause.startswith("clock") or api_error(error).status == 401:
            note = _EXPIRED if error.code == "ExpiredToken" else _BAD_KEY
            return finding("credentials", WRONG, f"{text}: {error}", _remedy(error, note))
    if all(error.outcome is not Outcome.REFUSED for error in errors) and len(errors) == len(reads):
        return finding("credentials", WRONG, f"{text}: {errors[0]}", _NO_EC2)
    owners = {snapshot.owner_id for snapshot in permissions.records(reads["DescribeSnapshots"])}
    return finding("credentials", OK, " of the AWS account ".join([text, *owners]))


def _text(report: Report) -> str:
    lines = [f"\n{report['account'] or 'The key of the caller'} in {report['region']}"]
    lines += map(_line, report["checks"])
    if report["permissions"]:
        lines.append(f"  {'action':<30} {'needed for':<24} result")
    lines += map(_line, report["permissions"])
    if report["missing_policy"]:
        lines += ["Missing IAM policy:", json.dumps(report["missing_policy"], indent=2)]
    return "\n".join(lines)


def _line(found: Finding) -> str:
    check, result, text, note = found.values()
    if sys.stdout.isatty():
        result = f"\x1b[{_COLOURS[result]}m{result}\x1b[0m"
    if check.startswith("ec2:"):
        return f"  {check:<30} {text:<24} {': '.join(filter(None, (result, note)))}"
    return f"  {check:<12} {result}: {text}" + (f" To do: {note}." if note else "")

"""``dcproxy --doctor``: tells what keeps dcproxy from its work, and changes nothing."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from getpass import getpass
from typing import Any

from dcproxy.auth.keys import Credentials
from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import permissions, reader
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome, clock_skew
from dcproxy.ec2.permissions import MISSING, NOT_CHECKED, OK, WRONG, Finding, finding
from dcproxy.ec2.session import AccessKey
from dcproxy.operations.translation import api_error
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings

_COLOURS = {OK: 32, permissions.ALLOWED: 32, WRONG: 31, MISSING: 31, NOT_CHECKED: 33}

_MAX_SKEW = 60  # seconds; EC2 refuses signatures with a time that is five minutes off

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


def run(file: str, load: Callable[[], Any], account: str | None, as_json: bool) -> int:
    """Print what is wrong for the accounts of a Paste file, or for the key of the caller.

    ``load`` returns the application of the file, or raises ``SettingError`` when dcproxy cannot
    start with it. ``account`` selects one. Returns the exit code: 0, or 1 when something is wrong
    or missing. Raises ``SettingError`` for an account that does not exist, and for keys that nobody
    can be asked for.
    """
    show: Callable[[str], None] = (lambda text: None) if as_json else print
    of_file, reports = finding("file", OK, f"{file} is correct"), list[Report]()
    try:
        app = load()
        if not isinstance(getattr(app, "settings", None), Settings):
            text = f"{file}: its application is not egg:dcproxy, and has no filter of it"
            raise SettingError(text)
    except SettingError as error:
        note = "correct it: --check tells when it is right"
        of_file, app = finding("file", WRONG, str(error), note), None
    show(_line(of_file))
    for report in _reports(app, account) if app else ():
        show(_text(report))
        reports.append(report)
    right = sum(report["is_right"] for report in reports)
    show(f"\n{right} of {len(reports)} without a fault")
    if as_json:
        print(json.dumps({"file": of_file, "reports": reports, "right": right}, indent=2))
    return 0 if reports and right == len(reports) else 1


def _reports(app: Any, account: str | None) -> Iterator[Report]:
    """Examine each account, or the key of the caller, with the client that serves requests."""
    settings, accounts = app.settings, app.accounts
    if account and account not in accounts:
        names = ", ".join(accounts) or "there are none"
        raise SettingError(f"there is no account {account}: {names}")
    runtime = Runtime()
    ec2 = EC2Client(settings, runtime, lambda *labels: None, lambda limit: None)

    def call(region: str, key: AccessKey, action: str, parse: Any, **params: Any) -> Any:
        """Return what EC2 has sent, or the ``EC2Error``."""
        deadline = runtime.monotonic() + settings.deadline
        log = RequestLog(request_id="doctor", method="", path="")
        try:
            return ec2.call(region, key, log, deadline, parse, action, **params)
        except EC2Error as error:
            return error

    @cache
    def network(region: str) -> list[Finding]:
        return _network(partial(call, region, NO_KEY), ec2.hosts[region], runtime)

    def report(account: str, region: str, access_key: Callable[[], AccessKey]) -> Report:
        checks, actions = [*network(region)], list[Finding]()
        if checks[0]["result"] == OK:
            try:
                key = access_key()
            except (ApiError, EC2Error) as error:
                note = "correct the profile of the account, or the trust policy of its role"
                checks.append(finding("credentials", WRONG, str(error), account and note))
            else:
                ask = partial(call, region, key)
                reads = permissions.read(ask)
                checks.append(_credentials(key, reads))
                if checks[-1]["result"] == OK:
                    actions += permissions.examine(ask, reads)
        return {
            "account": account,
            "region": region,
            "checks": checks,
            "permissions": actions,
            "missing_policy": permissions.missing_policy(actions, region),
            "is_right": not {one["result"] for one in checks + actions} & {WRONG, MISSING},
        }

    if not accounts:
        credentials = _callers_credentials()
        yield report("", settings.provider, lambda: AccessKey(*credentials.access_key()))
    for name in [account] if account else accounts:
        access_key = partial(accounts[name].access_key, settings.deadline)
        yield report(name, accounts[name].region or settings.provider, access_key)


def _callers_credentials() -> Credentials:
    """Take the key from the environment, or ask for it. Raises ``SettingError``."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if not all(map(os.environ.get, names)) and not sys.stdin.isatty():
        raise SettingError(f"there are no accounts, and no key in {' and '.join(names)}")
    id, secret = (os.environ.get(name) or getpass(f"{name}: ") for name in names)
    return Credentials(id, secret, os.environ.get("AWS_SESSION_TOKEN", ""))


def _network(call: permissions.Call, host: str, runtime: Runtime) -> list[Finding]:
    """Call EC2 with a key that does not exist: its refusal shows that it was reached."""
    started = runtime.monotonic()
    answer = call("DescribeAvailabilityZones", reader.zones, is_repeatable=False)
    if isinstance(answer, EC2Error) and not answer.code:
        return [finding("network", WRONG, f"{host}: {answer}", _remedy(answer, _NO_EC2))]
    seconds = runtime.monotonic() - started
    reached = finding("network", OK, f"{host} responded in {seconds:.2f} s")
    response = getattr(getattr(answer, "__cause__", None), "response", {})
    skew = clock_skew(response, runtime.unix_time())
    if skew is None:
        text = f"{host} does not send its time with a refusal"
        return [reached, finding("clock", NOT_CHECKED, text)]
    result, note = (WRONG, _REMEDIES["clock"]) if abs(skew) > _MAX_SKEW else (OK, "")
    return [reached, finding("clock", result, f"it is {skew:+.0f} s off", note)]


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
    snapshots = permissions.records(reads["DescribeSnapshots"])
    owners = {owner for _, _, owner, _ in (snapshot.details for snapshot in snapshots)}
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

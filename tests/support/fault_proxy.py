"""microburst in front of an EC2: a proxy that breaks about 30 % of all requests."""

import subprocess
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.servers import BIN, free_port, wait_until

# 30 % of all requests meet one of these.
RULES = """
rules:
- {service: ec2, probability: 0.07, error: {code: RequestLimitExceeded, status: 503}}
- {service: ec2, probability: 0.07, error: {code: InternalError, status: 500}}
- {service: ec2, probability: 0.06, reset: true}
- {service: ec2, probability: 0.06, response: {truncate_frac: 0.5}}
- {service: ec2, probability: 0.06, response: {abort_frac: 0.5}}
- {service: ec2, probability: 0.06, latency: {min: 100, max: 300}}
"""


@contextmanager
def fault_proxy(folder, upstream):
    port = free_port()
    (folder / "rules.yaml").write_text(RULES)
    command = [BIN / "microburst", "--upstream", upstream, "--port", str(port)]
    with open(folder / "microburst.log", "w") as log:
        process = subprocess.Popen(
            [*command, "--config", folder / "rules.yaml"], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: fired(url) is not None, "the fault proxy to answer")
        yield url
    finally:
        process.kill()
        process.wait(30)


def fired(url):
    try:
        with urlopen(f"{url}/_microburst/fired", timeout=10) as answer:
            return answer.read()
    except URLError:
        return None

"""Real servers, started by infra/local, as the tests of faults, security and integration use them."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from flows.local_stack import processes
from flows.local_stack.stack_settings import environment
from tests.settings import clean_environment

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / "infra" / "local"


@dataclass(frozen=True)
class RealServers:
    """The servers of one folder, which several processes may ask for at once."""

    folder: Path

    def up(self, *names: str) -> None:
        """Starts those of the servers (none given: all) that do not run, and waits until they are ready."""
        self.folder.mkdir(exist_ok=True)
        # PostgreSQL runs as a user of its own, who must be able to enter.
        self.folder.chmod(0o755)
        with open(self.folder / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._call("up", *names)

    def down(self, *names: str) -> None:
        self._call("down", *names)

    def _call(self, script: str, *names: str) -> None:
        done = subprocess.run(
            [sys.executable, str(LOCAL / script), str(self.folder), *names],
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def remove(self) -> None:
        """Stops all of them and removes what they kept."""
        self.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def variables(self) -> dict[str, str]:
        """With which a program uses these servers."""
        return environment(self.folder)

    def start(self, process: processes.Process) -> None:
        """Starts another process in the folder and waits until it is ready."""
        processes.start(self.folder, process)
        processes.wait(self.folder, process)

    def stop(self, *names: str) -> None:
        for name in names:
            processes.stop(self.folder, name)

    def session_credentials(self) -> dict[str, str]:
        """The variables of credentials that the S3 server itself gave for some hours, with a session token."""
        import boto3

        program = ["radosgw-admin", "-c", str(self.folder / "ceph" / "ceph.conf"), "caps", "add", "--uid", "autocast"]
        subprocess.run([*program, "--caps", "user-policy=*"], check=True, capture_output=True)
        variables = self.variables
        given = {
            "endpoint_url": variables["AWS_ENDPOINT_URL_S3"],
            "region_name": variables["AWS_REGION"],
            "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
        }
        allowed = {"Effect": "Allow", "Action": "sts:GetSessionToken", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        boto3.client("iam", **given).put_user_policy(UserName="autocast", PolicyName="sessions", PolicyDocument=policy)
        made = boto3.client("sts", **given).get_session_token(DurationSeconds=6 * 3600)["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["SessionToken"],
        }

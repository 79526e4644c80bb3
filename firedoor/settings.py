"""Settings, from the environment (`FIREDOOR_…`) or from the TOML file that `FIREDOOR_CONFIG` names.

Where Temporal is, and how to log in there, is not said here but by `temporalio.envconfig`: the same
profiles that the `temporal` command reads. Where AWS is, is said by the AWS SDK's own variables.
"""

import getpass
import os
from datetime import timedelta
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from firedoor.errors import BadInput
from firedoor.model.length import Length


def login() -> str:
    """Return the name of whoever runs this process; a container may know only a number."""
    try:
        return getpass.getuser()
    except KeyError:
        return f"uid{os.getuid()}"


class SnapshotLock(StrEnum):
    """How firmly a snapshot is locked."""

    GOVERNANCE = "governance"  # who has the right can unlock it
    COMPLIANCE = "compliance"  # nobody can, once the cooling-off period is over


class Settings(BaseSettings):
    """What differs from one installation to the next."""

    model_config = SettingsConfigDict(env_prefix="FIREDOOR_", extra="forbid", frozen=True)

    home: Path = Field(
        default=Path("~/.local/share/firedoor"),
        description="where evidence and the embedded server's data are kept",
    )
    temporal_profile: str | None = Field(
        default=None, description="profile of temporalio.envconfig"
    )
    task_queue: str = "firedoor"
    serves: str | None = Field(
        default=None,
        description="task queue of the accounts for which this worker has credentials, as the"
        " policy's `accounts` name it; such a worker only acts, and receives no findings",
    )
    queue_url: str | None = Field(default=None, description="SQS queue that EventBridge fills")
    dead_letter_url: str | None = Field(
        default=None, description="SQS queue for unreadable messages"
    )
    aws_role: str | None = Field(
        default=None, description="role to assume in other accounts, by name"
    )
    aws_external_id: str | None = None
    evidence: str | None = Field(
        default=None, description="s3://bucket/prefix or a directory; default: `evidence` in home"
    )
    forensic_account: str | None = Field(
        default=None,
        pattern=r"^\d{12}$",
        description="AWS account to which snapshots are copied; it is entered by `aws_role`",
    )
    forensic_key: str | None = Field(
        default=None,
        description="KMS key of that account for the copies: an ARN, an id or `alias/…`",
    )
    sharing_key: str | None = Field(
        default=None,
        description="KMS key in each account, best as `alias/…`, for snapshots under AWS's own key,"
        " which cannot be shared",
    )
    snapshot_lock: SnapshotLock | None = Field(
        default=None, description="lock what is kept of disks: `governance` or `compliance`"
    )
    snapshot_lock_days: int = Field(default=90, ge=1, le=36500)
    snapshot_lock_cool_off: int = Field(
        default=24, ge=1, le=72, description="hours in which a compliance lock can be taken back"
    )
    snapshot_hash_gib: int = Field(
        default=32,
        ge=0,
        description="GiB of a disk up to which its snapshot is read, block by block, to be hashed",
    )
    memory: str | None = Field(
        default=None,
        description="s3://bucket/prefix for memory, whose bucket lets the roles of instances put"
        " objects there and get the tools; default: `memory` in `evidence`, if that is a bucket",
    )
    memory_tool: str | None = Field(
        default=None, description="s3://bucket/key of a program that dumps the memory of Linux"
    )
    memory_tool_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    memory_tool_windows: str | None = Field(
        default=None, description="s3://bucket/key of a program that dumps the memory of Windows"
    )
    memory_tool_windows_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    proof_window_network: Length = Field(
        default=timedelta(minutes=15),
        description="for how long flow logs must show no traffic before isolation is proven",
    )
    proof_window_identity: Length = Field(
        default=timedelta(minutes=30),
        description="for how long CloudTrail must show no call before a revocation is proven",
    )
    logs: Path | None = Field(
        default=None, description="where logs that were read are kept; default: `logs` in home"
    )
    log_days: int = Field(default=90, ge=1, le=3650, description="for how many days they are kept")
    log_places: str = Field(
        default="",
        description="where this worker looks for new logs: files, s3://..., commas between them;"
        " such a worker runs the detections of `firedoor detect schedule`",
    )
    athena: str | None = Field(
        default=None, description="s3://bucket/prefix to which logs are published for Athena"
    )
    athena_work_group: str = "primary"
    athena_results: str = Field(
        default="", description="s3://... for results; default: where the work group says"
    )
    sigma: Path | None = Field(default=None, description="directory of Sigma rules to run as well")
    networks: str = Field(
        default="",
        description="our own networks beside the private ones, as 203.0.113.0/24, commas between",
    )
    policy: Path | None = Field(default=None, description="guard rails and rules of approval, YAML")
    runbooks: Path | None = Field(default=None, description="directory of further runbooks")
    responder: str = Field(default_factory=login, description="who decides on this terminal")
    responders: Path | None = Field(
        default=None, description="who may decide, YAML; default: `responders.yaml` in home"
    )
    allowed_signers: Path | None = Field(
        default=None,
        description="their keys, as OpenSSH has them; default: `allowed_signers` beside that file",
    )
    key: str | None = Field(
        default=None,
        description="what this terminal signs with: a private key, a .pub file whose other half the"
        " agent holds, or a fingerprint",
    )
    slack_token: SecretStr | None = Field(default=None, description="bot token, with `chat:write`")
    slack_channel: str | None = Field(default=None, description="where it posts: id of a channel")
    slack_url: str = Field(
        default="https://slack.com/api/chat.postMessage", description="differs for GovSlack"
    )
    slack_webhook: SecretStr | None = Field(
        default=None, description="URL of an incoming webhook, where there is no token"
    )
    teams_webhook: SecretStr | None = Field(
        default=None, description="URL of a workflow of Teams that posts cards"
    )
    pagerduty_key: SecretStr | None = Field(
        default=None, description="integration key of Events API v2"
    )
    pagerduty_url: str = Field(
        default="https://events.pagerduty.com/v2/enqueue", description="differs in the EU"
    )
    sns_topic: str | None = Field(default=None, description="ARN of the topic")
    smtp: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:587, or smtps:// for TLS at once"
    )
    mail_from: str | None = Field(default=None, description="the address that mail comes from")
    mail_to: str | None = Field(
        default=None, description="addresses that get every mail, with commas between them"
    )
    notify_webhook: SecretStr | None = Field(
        default=None, description="URL that is told what happens"
    )
    notify_secret: SecretStr | None = Field(
        default=None,
        description="whsec_… by which the webhook knows us; two, while one replaces the other",
    )
    oidc_command: str | None = Field(
        default=None, description="command that prints an ID token whose nonce is FIREDOOR_NONCE"
    )
    chat: str | None = Field(
        default=None, description="host:port on which the worker takes answers from Slack and Teams"
    )
    gateway: str | None = Field(
        default=None, description="as which gateway of those who may decide the worker brings them"
    )
    gateway_key: Path | None = Field(
        default=None, description="the private SSH key that it signs them with, best an Ed25519 one"
    )
    slack_signing_secret: SecretStr | None = Field(
        default=None, description="the Slack app's, by which we know its requests"
    )
    teams_secret: SecretStr | None = Field(
        default=None, description="security token of the outgoing webhook in Teams"
    )
    metrics: str | None = Field(default=None, description="host:port of the Prometheus endpoint")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the file."""
        path = os.environ.get("FIREDOOR_CONFIG")
        if path is None:
            return init_settings, env_settings
        if not Path(path).is_file():
            raise BadInput("FIREDOOR_CONFIG", path, "no such file")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    @property
    def data(self) -> Path:
        """`home` with the tilde resolved."""
        return self.home.expanduser()

    @property
    def store(self) -> Path:
        """The directory in which logs are kept."""
        return self.logs.expanduser() if self.logs else self.data / "logs"

    @property
    def places(self) -> tuple[str, ...]:
        """Where this worker looks for new logs."""
        return tuple(filter(None, (part.strip() for part in self.log_places.split(","))))

    @property
    def log_queue(self) -> str:
        """The task queue of the worker that keeps logs: they are on its disk alone."""
        return f"{self.task_queue}-logs"

    @property
    def own_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Our own networks; raises `BadInput` for one that is none."""
        found = []
        for text in filter(None, (part.strip() for part in self.networks.split(","))):
            try:
                found.append(ip_network(text))
            except ValueError as error:
                raise BadInput("settings", "FIREDOOR_NETWORKS", str(error)) from error
        return tuple(found)

    @property
    def roster(self) -> tuple[Path, Path]:
        """The files that say who may decide, and with which keys."""
        people = self.responders.expanduser() if self.responders else self.data / "responders.yaml"
        signers = self.allowed_signers
        return people, signers.expanduser() if signers else people.with_name("allowed_signers")


@cache
def settings() -> Settings:
    """Return the settings of this process.

    Raises `BadInput` naming the setting.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadInput("settings", name, first["msg"]) from error

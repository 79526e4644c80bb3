"""What was preserved, and how anybody can tell that it is still the same."""

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime


class Evidence(Model):
    """One preserved thing: a stored document, or a resource that the cloud itself keeps."""

    name: str
    taken_at: UtcDatetime
    uri: str = Field(description="file:, s3: or the provider's own ARN")
    sha256: str | None = Field(default=None, description="hex; of the content, where we hold it")
    size: int | None = Field(default=None, description="bytes")

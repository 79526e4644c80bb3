import base64
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


def test_screen_of_an_instance_is_a_jpeg(stock: Stock, scene: Scene) -> None:
    answer = stock("ec2").get_console_screenshot(InstanceId=scene.web_id)

    picture = base64.b64decode(answer["ImageData"])
    assert (picture[:2], picture[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        stock("ec2").get_console_screenshot(InstanceId="i-0123456789abcdef0")

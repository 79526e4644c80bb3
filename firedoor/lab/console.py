"""The screen of an instance: a grey picture, where moto has none."""

import base64

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from firedoor.lab import patch


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _huffman(table: int) -> bytes:
    """Return a table with a single code of one bit, for the symbol 0."""
    return _segment(0xC4, bytes([table, 1, *[0] * 15, 0]))


GREY = b"".join(
    (
        b"\xff\xd8",
        _segment(0xDB, bytes([0, *[1] * 64])),  # quantization
        _segment(0xC0, bytes([8, 0, 8, 0, 8, 1, 1, 0x11, 0])),  # 8 x 8 pixels, one component
        _huffman(0x00),
        _huffman(0x10),
        _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        b"\x3f",  # no difference, end of block
        b"\xff\xd9",
    )
)
"""The smallest JPEG that shows something (ITU T.81): 8 by 8 pixels of one grey."""


def install() -> None:
    """Add to moto's EC2 what it lacks."""
    patch.add(EC2Response, get_console_screenshot)


def get_console_screenshot(self: EC2Response) -> ActionResult:
    """Return the picture, of an instance that is there."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    return ActionResult({"InstanceId": instance.id, "ImageData": base64.b64encode(GREY).decode()})

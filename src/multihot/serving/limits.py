"""What the server takes at most, checked while it reads: everything is held in memory and nothing is written."""

from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True)
class Limits:
    """What one request and all together may hold."""

    file_bytes: int  # of one image; a larger one gets an error of its own
    request_bytes: int
    total_bytes: int  # of all requests that are being read or answered
    num_files: int  # images of a request
    num_waiting: int  # images of all requests
    pixels: int  # of one image
    seconds: float  # from the first byte of a request to its answer


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault)
    """A request is not answered: the status of HTTP and the reason in words."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, of what is only busy."""
        return {"Retry-After": "1"} if self.status == 503 else {}


class Gate:
    """Counts what all requests hold; used by the thread of the server alone."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.num_bytes = 0
        self.num_images = 0

    def enter(self) -> "Share":
        """Returns the share of a request that begins; raises Refused if the queue is full already."""
        if self.num_images >= self.limits.num_waiting:
            raise full(self.limits)
        return Share(self)


class Share:
    """What one request holds, given back when it ends."""

    def __init__(self, gate: Gate):
        self.gate = gate
        self.num_bytes = 0
        self.num_images = 0

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.num_bytes -= self.num_bytes
        self.gate.num_images -= self.num_images

    def add_bytes(self, number: int) -> None:
        """Raises Refused if the request, or all together, would hold more than they may."""
        limits = self.gate.limits
        if self.num_bytes + number > limits.request_bytes:
            raise Refused(413, f"a request may hold {limits.request_bytes} bytes (request_mb)")
        if self.gate.num_bytes + number > limits.total_bytes:
            raise full(limits)
        self.num_bytes += number
        self.gate.num_bytes += number

    def add_images(self, number: int) -> None:
        """Raises Refused if the queue has no place for so many images."""
        if self.gate.num_images + number > self.gate.limits.num_waiting:
            raise full(self.gate.limits)
        self.num_images += number
        self.gate.num_images += number


def full(limits: Limits) -> Refused:
    """Returns what is said where the queue is full."""
    return Refused(503, f"the queue is full ({limits.num_waiting} images, {limits.total_bytes} bytes): come again")

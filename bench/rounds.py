"""What a round of sending measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """A round: things sent, taken and dropped by the kernel, for how long, on how much core."""

    sent: int
    taken: int
    dropped: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Things sent a second."""
        return self.sent / self.seconds

    @property
    def uncounted(self) -> int:
        """Things of which nobody knows."""
        return self.sent - self.taken - self.dropped

    @property
    def busy(self) -> float:
        """The share of a core that it used."""
        return self.cpu_s / self.seconds

    @property
    def cost(self) -> float:
        """Processor time for each thing that was taken, in µs."""
        return self.cpu_s / max(1, self.taken) * 1e6

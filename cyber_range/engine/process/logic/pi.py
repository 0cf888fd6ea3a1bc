"""A proportional-integral controller that keeps time by the plant's clock, so that it holds at any scan rate."""

from __future__ import annotations

LONGEST_S = 15.0  # a longer gap (a stop, a restart) does not wind the integral up


class PI:
    """Output in `low`..`high`; `reset_s` is the time in which the integral part repeats the proportional one."""

    def __init__(self, gain: float, reset_s: float, *, low: float = 0.0, high: float = 100.0) -> None:
        self.gain, self.reset_s, self.low, self.high = gain, reset_s, low, high
        self._integral = 0.0
        self._clock: float | None = None

    def output(self, error: float, bias: float, clock_s: float | None) -> float:
        """`bias` is what usually holds the set-point; without a clock (no input has come yet) only P acts."""
        wanted = bias + self.gain * error + self._integral
        if clock_s is not None:
            dt = min(LONGEST_S, max(0.0, clock_s - self._clock)) if self._clock is not None else 0.0
            self._clock = clock_s
            more = self.gain * error / self.reset_s * dt
            if (
                (self.low < wanted < self.high)
                or (wanted >= self.high and more < 0)
                or (wanted <= self.low and more > 0)
            ):
                span = self.high - self.low
                self._integral = max(-span, min(span, self._integral + more))
        return max(self.low, min(self.high, wanted))

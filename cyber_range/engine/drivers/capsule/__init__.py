"""One locked-down container per range with the netns driver inside; its class is what the registry loads."""

from cyber_range.engine.drivers.capsule.driver import CapsuleDriver

__all__ = ["CapsuleDriver"]

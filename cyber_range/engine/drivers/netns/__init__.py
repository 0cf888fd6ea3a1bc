"""The embedded driver: rootless ranges in Linux namespaces. Recipe, limits and handing over of root: README.md here."""

from cyber_range.engine.drivers.netns.driver import NetnsDriver
from cyber_range.engine.drivers.netns.rootdrop import account, drop_privileges, prepare_as_root

__all__ = ["NetnsDriver", "account", "drop_privileges", "prepare_as_root"]

"""What the tests of the Digi client ask for: a Digi cloud, shared by the tests of one file."""

from digi_rig import digi, shared  # noqa: F401

"""Runs pytest in the model's environment with the packages of the other: `lent_pytest.py SITE_PACKAGES ARGUMENT...`."""

import sys

sys.path.append(sys.argv[1])  # behind the environment's own packages, so that only what it lacks is taken

import pytest

sys.exit(pytest.main(sys.argv[2:]))

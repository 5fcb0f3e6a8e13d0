"""The one way to import the client."""

import subprocess
import sys
from types import ModuleType

import pytest

import headrace.client


@pytest.mark.parametrize("name", headrace.client.__all__)
def test_every_name_is_there_and_none_is_a_module(name):
    """`from headrace.client import subscribe` gives the function, whatever was imported before."""
    assert not isinstance(getattr(headrace.client, name), ModuleType)


def test_names_are_loaded_when_they_are_asked_for():
    """A producer does not pay for the Kafka client, nor a reader for gRPC."""
    program = (
        "import sys, headrace.client as client; assert 'aiokafka' not in sys.modules;"
        "client.submit; assert 'grpc' in sys.modules and 'aiokafka' not in sys.modules;"
        "client.subscribe; assert 'minio' not in sys.modules and 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error():
    """So that `hasattr` and `from ... import` say what they always say."""
    with pytest.raises(ImportError, match="cannot import name 'subscribed'"):
        from headrace.client import subscribed  # noqa: F401, PLC0415 # the import is what is tested

"""A served product, and clients of it."""

from collections.abc import Iterator

import pytest

from rackhand.sdk import Client
from tests.conftest import ADMIN, PASSWORD
from tests.served import ServedProduct


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProduct]:
    with ServedProduct(tmp_path_factory.mktemp("product")) as served:
        yield served


@pytest.fixture
def client(product: ServedProduct) -> Iterator[Client]:
    with Client(product.url, email=ADMIN, password=PASSWORD) as signed_in:
        yield signed_in

"""The table of drivers: what forms are drawn from and input is checked with."""

from collections.abc import Mapping

import pytest

from rackhand.hardware.drivers import (
    DRIVERS,
    PDU_DRIVERS,
    SWITCH_DRIVERS,
    Device,
    Driver,
    InvalidSettings,
    SettingField,
    setting_fields,
    validate_settings,
)


def test_table_has_a_title_and_a_port_for_every_driver() -> None:
    assert {name: (driver.title, driver.port) for name, driver in DRIVERS.items()} == {
        "ipmi": ("IPMI 2.0", 623),
        "redfish": ("Redfish", 443),
    }
    assert {name: (driver.title, driver.port) for name, driver in SWITCH_DRIVERS.items()} == {
        "snmp": ("SNMP", 161),
        "cli": ("Command line (SSH)", 22),
    }
    assert {name: (driver.title, driver.port) for name, driver in PDU_DRIVERS.items()} == {
        "snmp": ("SNMP", 161),
    }


@pytest.mark.parametrize(
    ("driver", "table"),
    [(name, table) for table in (DRIVERS, SWITCH_DRIVERS, PDU_DRIVERS) for name in table],
)
def test_every_setting_is_described_and_its_default_is_valid(
    driver: str, table: Mapping[str, Driver[Device]]
) -> None:
    fields = setting_fields(driver, table)
    assert all(field.description.endswith(".") for field in fields)
    defaults = {field.name: field.default for field in fields}
    assert validate_settings(driver, defaults, table) == defaults


def test_secrets_of_the_settings_are_marked() -> None:
    assert {field.name for field in setting_fields("snmp", SWITCH_DRIVERS) if field.secret} == {
        "write_community",
        "privacy_password",
    }
    assert {field.name for field in setting_fields("cli", SWITCH_DRIVERS) if field.secret} == {
        "enable_password"
    }
    given = {"write_community": "w", "timeout_seconds": 1}
    assert validate_settings("snmp", given, PDU_DRIVERS) == {"write_community": "w", "timeout_seconds": "1"}


def test_form_knows_kinds_and_choices() -> None:
    fields = {field.name: field for field in setting_fields("redfish")}
    assert fields["scheme"] == SettingField(
        name="scheme",
        kind="choice",
        default="https",
        description="`http` only where the BMC offers nothing else.",
        choices=("https", "http"),
        secret=False,
    )
    assert {name: (field.kind, field.default) for name, field in fields.items()} == {
        "scheme": ("choice", "https"),
        "verify_tls": ("boolean", "true"),
        "system_id": ("text", ""),
        "timeout_seconds": ("number", "30"),
    }


def test_settings_come_back_as_texts_and_only_those_given() -> None:
    assert validate_settings("redfish", {"verify_tls": False, "timeout_seconds": 10}) == {
        "verify_tls": "false",
        "timeout_seconds": "10",
    }
    assert validate_settings("ipmi", {"cipher_suite": "17"}) == {"cipher_suite": "17"}


@pytest.mark.parametrize(
    ("driver", "settings", "words"),
    [
        (
            "ipmi",
            {"cipher_suite": "0"},
            "The setting 'cipher_suite': Input should be greater than or equal to 1.",
        ),
        ("ipmi", {"verify_tls": "no"}, "The driver 'ipmi' has no setting 'verify_tls'."),
        (
            "ipmi",
            {"workaround_flags": "a --off"},
            "The setting 'workaround_flags': String should match pattern",
        ),
        ("redfish", {"scheme": "ftp"}, "The setting 'scheme': Input should be 'https' or 'http'."),
        ("telnet", {}, "The driver 'telnet' is unknown. Known: ipmi, redfish."),
    ],
)
def test_bad_settings_are_named_in_words(driver: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        validate_settings(driver, settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"version": "3", "privacy": "AES", "authentication": "none"}, "privacy needs an authentication"),
        ({"kind": "generic"}, "a generic PDU needs state_oid"),
        ({"kind": "generic", "state_oid": "1.3.x"}, "The setting 'state_oid': String should match"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        validate_settings("snmp", settings, PDU_DRIVERS)
    assert words in str(caught.value)

from datetime import timedelta
from pathlib import Path

import pytest

from notify.targets import Targets
from vin.errors import StartError
from vin.settings import (
    Address,
    ApiSettings,
    KeyholderSettings,
    MigrateSettings,
    OperatorSettings,
    SmtpTls,
    UpSettings,
    WorkerSettings,
    read_settings,
)

POSTGRES = "postgresql://vin:secret@/vin?host=/run/vin"
REDIS = "unix:///run/vin/redis"
INDEX = {"DATABASE_URL": POSTGRES, "REDIS_URL": REDIS, "VIN_KEYS": "/etc/vin/keys"}
BASES = {"VIN_API_URL": "http://127.0.0.1:8080", "VIN_KEYHOLDER_URL": "https://keys.vin.test"}
WORKER = {**INDEX, "VIN_SMTP": "mail.vin.test:25", "VIN_MAIL_FROM": "index@vin.test"}


def faults(kind: type[ApiSettings | WorkerSettings | UpSettings], **given: str) -> list[str]:
    with pytest.raises(StartError) as error:
        read_settings(kind, given)
    return str(error.value).splitlines()


def test_the_api_gets_what_it_needs_and_defaults_for_the_rest() -> None:
    settings = read_settings(ApiSettings, {**INDEX, **BASES, "VIN_PORT": "8080", "HOME": "/root"})

    assert settings == ApiSettings(
        database_url=POSTGRES,
        redis_url=REDIS,
        host="127.0.0.1",
        port=8080,
        api_url="http://127.0.0.1:8080",
        keyholder_url="https://keys.vin.test",
        keys=Path("/etc/vin/keys"),
        clock_offset=timedelta(0),
    )


def test_the_key_holder_needs_neither_the_index_nor_redis() -> None:
    environment = {
        **BASES,
        "VIN_KEYHOLDER_DATABASE_URL": POSTGRES,
        "VIN_HOST": "0.0.0.0",  # noqa: S104
        "VIN_PORT": "8081",
        "VIN_KEYS": "keys",
    }

    assert read_settings(KeyholderSettings, environment).port == 8081


def test_the_worker_knows_where_mail_goes() -> None:
    settings = read_settings(
        WorkerSettings, {**WORKER, "VIN_SMTP_TLS": "required", "VIN_CLOCK_OFFSET": "-86400"}
    )

    assert settings.smtp == Address("mail.vin.test", 25)
    assert settings.smtp_tls is SmtpTls.REQUIRED
    assert settings.clock_offset == timedelta(days=-1)
    assert read_settings(WorkerSettings, WORKER).smtp_tls is SmtpTls.OPPORTUNISTIC
    assert read_settings(WorkerSettings, WORKER).api_url is None
    assert read_settings(WorkerSettings, {**WORKER, **BASES}).api_url == BASES["VIN_API_URL"]


def test_a_worker_shows_metrics_only_where_it_is_told_to() -> None:
    assert read_settings(WorkerSettings, WORKER).metrics is None
    told = {**WORKER, "VIN_METRICS": "127.0.0.1:9100"}
    assert read_settings(WorkerSettings, told).metrics == Address("127.0.0.1", 9100)


def test_a_mail_server_may_have_an_ipv6_address() -> None:
    settings = read_settings(WorkerSettings, {**WORKER, "VIN_SMTP": "[::1]:2525"})

    assert settings.smtp == Address("::1", 2525)


def test_mail_comes_back_to_a_domain_and_a_place() -> None:
    settings = read_settings(
        WorkerSettings,
        {
            **WORKER,
            "VIN_BOUNCE_DOMAIN": "bounces.vin.test",
            "VIN_BOUNCE_LISTEN": "127.0.0.1:2526",
        },
    )

    assert settings.bounce_domain == "bounces.vin.test"
    assert settings.bounce_listen == Address("127.0.0.1", 2526)
    assert read_settings(WorkerSettings, WORKER).bounce_domain is None
    assert faults(WorkerSettings, **{**WORKER, "VIN_BOUNCE_DOMAIN": "b@vin.test"}) == [
        "VIN_BOUNCE_DOMAIN must be a domain that mail comes back to."
    ]


def test_webhooks_go_nowhere_private_unless_listed() -> None:
    listed = "case.intern.example,10.0.0.0/8"
    settings = read_settings(WorkerSettings, {**WORKER, "VIN_WEBHOOK_TARGETS": listed})

    assert settings.webhook_targets == Targets.parse(listed)
    assert read_settings(WorkerSettings, WORKER).webhook_targets == Targets()


def test_the_operators_own_number_has_twenty_digits() -> None:
    number = "00000001823288444000"

    assert read_settings(WorkerSettings, {**WORKER, "VIN_OIN": number}).oin == number
    assert faults(WorkerSettings, **{**WORKER, "VIN_OIN": "1" * 19}) == [
        "VIN_OIN must be an organisation identification number of 20 digits."
    ]


def test_every_fault_is_told_at_once() -> None:
    told = faults(
        WorkerSettings,
        VIN_SMPT="mail.vin.test:25",
        VIN_SMTP_TLS="sometimes",
        VIN_MAIL_FROM="nobody",
        REDIS_URL="",
    )

    assert [sentence.partition(" ")[0] for sentence in told] == [
        "VIN_SMPT",
        "DATABASE_URL",
        "REDIS_URL",
        "VIN_KEYS",
        "VIN_SMTP",
        "VIN_SMTP_TLS",
        "VIN_MAIL_FROM",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://db/vin"),
        ("DATABASE_URL", "postgresql://db/vin\n"),
        ("DATABASE_URL", "postgresql://[db/vin"),
        ("REDIS_URL", "http://redis"),
        ("VIN_PORT", "0"),
        ("VIN_PORT", "65536"),
        ("VIN_PORT", "8080x"),
        ("VIN_PORT", "٨٠٨٠"),
        ("VIN_API_URL", "https://vin.test/"),
        ("VIN_API_URL", "https://vin.test/api"),
        ("VIN_API_URL", "https://vin.test?"),
        ("VIN_API_URL", "https://"),
        ("VIN_API_URL", "vin.test"),
        ("VIN_CLOCK_OFFSET", "1.5"),
        ("VIN_CLOCK_OFFSET", "99999999999"),
    ],
)
def test_a_bad_value_is_refused_and_not_repeated(name: str, value: str) -> None:
    (told,) = faults(ApiSettings, **{**INDEX, **BASES, "VIN_PORT": "8080", name: value})

    assert told.startswith(f"{name} must be ")
    assert value not in told


@pytest.mark.parametrize("value", ["mail.vin.test", ":25", "mail.vin.test:smtp", "mail vin:25"])
def test_a_mail_server_needs_a_host_and_a_port(value: str) -> None:
    assert len(faults(WorkerSettings, **{**WORKER, "VIN_SMTP": value})) == 1


def test_settings_show_no_url_with_a_password() -> None:
    settings = read_settings(OperatorSettings, {"DATABASE_URL": POSTGRES})

    assert "secret" not in repr(settings)


def test_migrating_needs_one_of_the_databases() -> None:
    index = read_settings(MigrateSettings, {"DATABASE_URL": POSTGRES})
    keyholder = read_settings(MigrateSettings, {"VIN_KEYHOLDER_DATABASE_URL": POSTGRES})

    assert (index.database_url, index.keyholder_database_url) == (POSTGRES, None)
    assert (keyholder.database_url, keyholder.keyholder_database_url) == (None, POSTGRES)
    with pytest.raises(StartError, match="DATABASE_URL or VIN_KEYHOLDER_DATABASE_URL must be set"):
        read_settings(MigrateSettings, {})


def test_everything_runs_embedded_without_any_setting() -> None:
    assert read_settings(UpSettings, {}) == UpSettings()

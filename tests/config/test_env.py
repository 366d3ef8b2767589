"""A bad environment stops the start with a line that names the variable and the mend."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from config.env import BadEnvironment, parse_env

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
GOOD = {
    "MARINA_MASTER_KEY": KEY,
    "DATABASE_URL": "postgresql://boss:pw@db.example:5433/marina",
    "REDIS_URL": "redis://127.0.0.1/0",
}


VAULT = {"MARINA_VAULT_URL": "https://vault.example.com:8200/"}


def test_role_urls_keep_the_address_and_derive_their_passwords() -> None:
    env = parse_env(GOOD)
    assert env.app_database_url.startswith("postgresql://marina_app:")
    assert env.app_database_url.endswith("@db.example:5433/marina")
    passwords = {
        url.split(":")[2] for url in (env.app_database_url, env.owner_database_url, env.writer_database_url)
    }
    assert len(passwords) == 3
    assert parse_env(GOOD).app_database_url == env.app_database_url


def test_the_environment_in_words_holds_no_secret() -> None:
    env = parse_env(GOOD | {"REDIS_URL": "redis://:redis-secret@127.0.0.1/0"})
    for text in (repr(env), str(env)):
        assert "pw" not in text
        assert "redis-secret" not in text
        assert KEY not in text
        assert str(b"k" * 32) not in text
        assert env.app_database_url.split(":")[2].partition("@")[0] not in text


def test_keys_that_are_only_readable_derive_nothing_and_are_not_shown() -> None:
    other = base64.urlsafe_b64encode(b"o" * 32).decode()
    env = parse_env(GOOD | {"MARINA_READABLE_KEYS": f"{other}, {KEY}"})
    assert env.readable_keys == (b"o" * 32, b"k" * 32)
    assert env.app_database_url == parse_env(GOOD).app_database_url
    assert str(b"o" * 32) not in repr(env)


def test_secrets_of_the_environment_are_those_with_the_prefix_alone_and_are_not_shown() -> None:
    given = {"TEAM_SECRET_ACME__KEY": "value-of-acme", "TEAM_SECRET": "x", "OTHER": "y", "HOME": "/root"}
    env = parse_env({**GOOD, **given, "MARINA_SECRETS_ENV_PREFIX": "TEAM_SECRET_"})
    assert env.secrets.variables == {"TEAM_SECRET_ACME__KEY": "value-of-acme"}
    assert "value-of-acme" not in repr(env)
    assert parse_env({**GOOD, **given}).secrets.variables == {}


def test_what_signs_marina_in_at_vault_is_not_shown() -> None:
    by_role = {**VAULT, "MARINA_VAULT_ROLE_ID": "role-id", "MARINA_VAULT_SECRET_ID": "secret-id-of-marina"}
    for given in ({**VAULT, "MARINA_VAULT_TOKEN": "hvs.token-of-marina"}, by_role):
        env = parse_env(GOOD | given)
        assert env.secrets.vault is not None
        assert env.secrets.vault.url == "https://vault.example.com:8200"
        assert "of-marina" not in repr(env)
    assert parse_env(GOOD).secrets.vault is None


def test_a_role_url_given_explicitly_wins() -> None:
    url = "postgresql://mine:pw@elsewhere/marina"
    assert parse_env(GOOD | {"DATABASE_APP_URL": url}).app_database_url == url


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MARINA_MASTER_KEY": ""}, ["MARINA_MASTER_KEY", "32 random bytes"]),
        ({"MARINA_MASTER_KEY": "short"}, ["MARINA_MASTER_KEY", "32"]),
        ({"MARINA_MASTER_KEY": "!" * 44}, ["MARINA_MASTER_KEY", "base64url"]),
        ({"MARINA_READABLE_KEYS": f"{KEY} short"}, ["MARINA_READABLE_KEYS", "32"]),
        ({"DATABASE_URL": ""}, ["DATABASE_URL", "not set"]),
        ({"DATABASE_URL": "mysql://x"}, ["DATABASE_URL", "postgresql://"]),
        ({"REDIS_URL": "http://x"}, ["REDIS_URL", "redis://"]),
        ({"PORT": "http"}, ["PORT", "'http'", "65535"]),
        ({"PORT": "0"}, ["PORT", "65535"]),
        ({"MARINA_DEBUG": "maybe"}, ["MARINA_DEBUG", "1 or 0"]),
        ({"MARINA_COMPILED": "1"}, ["MARINA_COMPILED", "'1'", "yes, no"]),
        ({"MARINA_BASE_URL": "example.com/marina"}, ["MARINA_BASE_URL", "https://"]),
        ({"MARINA_OUTBOUND_ALLOW": "db.internal"}, ["MARINA_OUTBOUND_ALLOW", "'db.internal'", "10.1.0.0/16"]),
        ({"EMAIL_URL": "mail.example.com"}, ["EMAIL_URL", "smtps://"]),
        ({"EMAIL_URL": "smtp://host:port"}, ["EMAIL_URL", "smtp://"]),
        ({"EMAIL_URL": "file://relative/path"}, ["EMAIL_URL", "file:///"]),
        ({"MARINA_SIGNUP": "yes"}, ["MARINA_SIGNUP", "'yes'", "invited"]),
        ({"MARINA_REDIRECT_SCHEMES": "cursor javascript"}, ["MARINA_REDIRECT_SCHEMES", "'javascript'"]),
        ({"MARINA_REDIRECT_SCHEMES": "cursor://"}, ["MARINA_REDIRECT_SCHEMES", "'cursor://'"]),
        ({"EMAIL_FROM": "Marina"}, ["EMAIL_FROM", "'Marina'"]),
        ({"EMAIL_FROM": "Marina <a@example.com>\nBcc: b@example.com"}, ["EMAIL_FROM"]),
        ({"MARINA_HEADER_SECONDS": "0"}, ["MARINA_HEADER_SECONDS", "300"]),
        ({"MARINA_TRUSTED_PROXIES": "proxy"}, ["MARINA_TRUSTED_PROXIES", "'proxy'", "10.1.0.0/16"]),
        ({"MARINA_PUBLIC_RATE": "many"}, ["MARINA_PUBLIC_RATE", "'many'", "300/60"]),
        ({"MARINA_KEY_FAILURES": "50"}, ["MARINA_KEY_FAILURES", "'50'", "300/60"]),
        ({"MARINA_PUBLIC_RATE": "300/0"}, ["MARINA_PUBLIC_RATE", "300/60"]),
        ({"MARINA_MAX_BODY_BYTES": "1"}, ["MARINA_MAX_BODY_BYTES", "1024"]),
        ({"MARINA_SECRETS_ENV_PREFIX": "TEAM"}, ["MARINA_SECRETS_ENV_PREFIX", "TEAM_SECRET_"]),
        ({"MARINA_SECRETS_ENV_PREFIX": "_"}, ["MARINA_SECRETS_ENV_PREFIX"]),
        ({"MARINA_SECRETS_DIR": "secrets"}, ["MARINA_SECRETS_DIR", "absolute"]),
        ({"MARINA_SECRETS_DIR": "/a:/b"}, ["MARINA_SECRETS_DIR", "one absolute path"]),
        (
            {"MARINA_SECRETS_DIR": "/a/b", "MARINA_FILES_ROOTS": "/a"},
            ["MARINA_SECRETS_DIR", "teams would read"],
        ),
        (
            {"MARINA_SECRETS_DIR": "/a", "MARINA_FILES_ROOTS": "/a/b"},
            ["MARINA_SECRETS_DIR", "teams would read"],
        ),
        ({"MARINA_CHECKPOINTS": "ftp://x"}, ["MARINA_CHECKPOINTS", "file:///"]),
        ({"MARINA_CHECKPOINTS": "s3://bucket"}, ["MARINA_CHECKPOINTS", "MARINA_CHECKPOINTS_ACCESS_KEY"]),
        (
            {"MARINA_CHECKPOINTS": "file:///a/b", "MARINA_FILES_ROOTS": "/a"},
            ["MARINA_CHECKPOINTS", "teams may write"],
        ),
        ({"MARINA_HOSTED_COMMANDS": "commands.yaml"}, ["MARINA_HOSTED_COMMANDS", "absolute"]),
        ({"MARINA_HOSTED_COMMANDS": "/none/commands.yaml"}, ["MARINA_HOSTED_COMMANDS", "/none", "read"]),
        ({"MARINA_SECRETS_SECONDS": "1"}, ["MARINA_SECRETS_SECONDS", "10"]),
        ({"MARINA_VAULT_TOKEN": "hvs.secret"}, ["MARINA_VAULT_URL"]),
        (
            {"MARINA_VAULT_URL": "vault.example.com", "MARINA_VAULT_TOKEN": "t"},
            ["MARINA_VAULT_URL", "https://"],
        ),
        ({**VAULT}, ["MARINA_VAULT_TOKEN", "MARINA_VAULT_ROLE_ID"]),
        ({**VAULT, "MARINA_VAULT_ROLE_ID": "r"}, ["MARINA_VAULT_SECRET_ID"]),
        ({**VAULT, "MARINA_VAULT_TOKEN": "a\nb"}, ["MARINA_VAULT_TOKEN", "plain"]),
        ({**VAULT, "MARINA_VAULT_TOKEN": "t", "MARINA_VAULT_PATH": "../x"}, ["MARINA_VAULT_PATH", "'../x'"]),
    ],
)
def test_a_bad_value_names_the_variable_and_what_is_expected(
    change: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(BadEnvironment) as caught:
        parse_env(GOOD | change)
    for word in words:
        assert word in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_link_makes_no_other_folder_of_one(tmp_path: Path) -> None:
    there, link, listed = tmp_path / "there", tmp_path / "link", tmp_path / "commands.yaml"
    there.mkdir()
    link.symlink_to(there)
    listed.write_text(f"x: {{run: [/opt/x], folders: [{there}]}}")
    for given, says in (
        ({"MARINA_SECRETS_DIR": str(there), "MARINA_FILES_ROOTS": str(link)}, "teams would read"),
        ({"MARINA_CHECKPOINTS": f"file://{there}", "MARINA_FILES_ROOTS": str(link)}, "teams may write"),
        ({"MARINA_HOSTED_COMMANDS": str(listed), "MARINA_FILES_ROOTS": str(link)}, "would be seen"),
        ({"MARINA_HOSTED_COMMANDS": str(listed), "MARINA_SECRETS_DIR": str(link)}, "would be seen"),
    ):
        with pytest.raises(BadEnvironment, match=says):
            parse_env(GOOD | given)


def test_loopback_names_are_allowed_hosts_only_for_a_loopback_base_url() -> None:
    assert "localhost:8000" in parse_env(GOOD).allowed_hosts
    assert parse_env(GOOD | {"MARINA_BASE_URL": "https://mcp.example.com"}).allowed_hosts == (
        "mcp.example.com",
    )


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("smtp://ada:p%40ss@mail.example.com", "mail.example.com", 587, "starttls"),
        ("smtps://ada:p%40ss@mail.example.com", "mail.example.com", 465, "implicit"),
        ("smtp+plain://ada:p%40ss@mail.example.com:2525", "mail.example.com", 2525, ""),
    ],
)
def test_mail_goes_to_the_named_server(url: str, host: str, port: int, tls: str) -> None:
    mail = parse_env(GOOD | {"EMAIL_URL": url}).mail
    assert (mail.host, mail.port, mail.tls) == (host, port, tls)
    assert (mail.user, mail.password) == ("ada", "p@ss")
    assert "p@ss" not in repr(mail)


def test_mail_goes_to_the_console_by_default_and_into_files_where_asked() -> None:
    mail = parse_env(GOOD | {"MARINA_BASE_URL": "https://mcp.example.com"}).mail
    assert (mail.host, mail.folder, mail.sender) == ("", "", "Marina <marina@mcp.example.com>")
    assert parse_env(GOOD | {"EMAIL_URL": "file:///var/mail"}).mail.folder == "/var/mail"

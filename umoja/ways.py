"""The ways by which this installation pages people, as its configuration says."""

from umoja.clock import Clock
from umoja.config import Config
from umoja.ops.paging import Console, Email, SendText, Sms, Way, Webhook


def ways_of(config: Config, *, clock: Clock, send_text: SendText) -> dict[str, Way]:
    """Return the ways by which this installation pages: mail only where a server is configured."""
    ways: dict[str, Way] = {
        "console": Console(),
        "sms": Sms(send_text),
        "webhook": Webhook(clock=clock, may_be_private=not config.is_production),
    }
    if config.mail_host:
        ways["email"] = Email(
            host=config.mail_host,
            port=config.mail_port,
            sender=config.mail_from or f"umoja@{config.mail_host}",
            user=config.mail_user,
            password=config.mail_password,
            is_plain=config.mail_host in {"localhost", "127.0.0.1", "::1"},
        )
    return ways


def address_of(config: Config) -> str:
    """Return where people reach the console, for the links in pages."""
    return config.public_url or f"http://{config.host}:{config.port}"

from tests.outbound.conftest import authority, other_authority
from tests.support.smtp import mail_server, start_mail_server

__all__ = ["authority", "mail_server", "other_authority", "start_mail_server"]

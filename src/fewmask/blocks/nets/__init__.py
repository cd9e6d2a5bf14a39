"""Plain networks."""

import getpass
import os


def _name_user() -> None:
    """Give a user without a name one (F16: a container run as a number): MONAI asks for it as it is
    imported, and torch where it compiles.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = "nobody"


_name_user()

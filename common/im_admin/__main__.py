"""`python -m im_admin`; a container has it, and `scripts/im-admin` calls it."""

import sys

from im_admin.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

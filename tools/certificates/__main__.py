"""
Certificates for a board: `python3 tools/certificates` says which there are.
"""

import os
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Started as `python3 tools/certificates` this directory itself is on the path: its modules would
# answer to names that are not theirs.
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

USAGE = """\
usage: python3 tools/certificates azure-roots FILE.pem    what a device of Azure's has to trust
       python3 tools/certificates rsa-key FOLDER [--name NAME] [--bits BITS]
                                                          a TeamViewer client's key and request
"""


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "azure-roots":  # needs nothing but Python
        from certificates import azure_roots

        return azure_roots.main(sys.argv[2:])
    if what == "rsa-key":
        workshop.enter(__file__)
        from certificates import make_rsa_key

        return make_rsa_key.main(sys.argv[2:])
    print(USAGE, end="", file=sys.stderr)
    return 0 if what in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())

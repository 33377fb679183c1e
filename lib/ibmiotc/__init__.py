"""
The older name of ibmiotf: `import ibmiotc.application`, whose constructor connects. All of it is
ibmiotf's; options for every client (the CA, say) go into `ibmiotf.defaults`, here too.
"""

from ibmiotf import (  # noqa: F401
    ConfigurationException,
    ConnectionException,
    InvalidEventException,
    UnsupportedAuthenticationMethod,
    defaults,
)

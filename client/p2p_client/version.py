"""Which version of the software this is; the distribution's is read from here when it is built."""

VERSION = "0.1.0"

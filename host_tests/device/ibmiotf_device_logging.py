# A logging module as far as the client uses micropython-lib's, which writes down its lines.
import sys

class Logger:
    def __init__(self, name):
        self.name = name
        self.handlers = []

    def addHandler(self, handler):
        self.handlers.append(handler)

    def write(self, level, text, *args):
        lines.append(self.name + " " + level + ": " + (text % args if args else text))

    def debug(self, text, *args):
        self.write("debug", text, *args)

    def info(self, text, *args):
        self.write("info", text, *args)

    def error(self, text, *args):
        self.write("error", text, *args)

class logging:  # as far as micropython-lib's is used
    loggers = {}

    @staticmethod
    def getLogger(name=None):
        return logging.loggers.setdefault(name, Logger(name))

lines = []
sys.modules["logging"] = logging

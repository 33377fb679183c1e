# logging: as much of micropython-lib's as the clients use. Device code; a test puts this directory
# on the device's path. lines: what was logged, newest last.

lines = []


class Logger:
    def __init__(self, name):
        self.name = name

    def log(self, level, text, *args):
        lines.append("%s %s %s" % (level, self.name, text % args if args else text))

    def info(self, text, *args):
        self.log("INFO", text, *args)

    def warning(self, text, *args):
        self.log("WARNING", text, *args)

    def error(self, text, *args):
        self.log("ERROR", text, *args)

    def debug(self, text, *args):
        pass


def getLogger(name="root"):
    return Logger(name)

# A namedtuple.
class Timestamp(tuple[int, int, int, int, int, int, int]):
    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    microsecond: int
    def isoformat(self, sep: str = "T") -> str: ...

# Where a datetime module can be imported these are datetime objects, with the same attributes.
Moment = Timestamp

def parse(text: str | None) -> Moment | None: ...
def of(text: str | None, at: float) -> Moment: ...
def now() -> Moment | None: ...

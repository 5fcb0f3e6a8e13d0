"""How many records a hop takes at a time: as many as it handles in about the time that is aimed at."""


class BatchSize:
    """Doubles after a full batch that was quick, halves after one that was slow; always within the two bounds.

    Each batch costs its transactions, however few its records are; and whoever is killed does a batch again, however many.
    """

    def __init__(self, records_min: int, records_max: int, s_aim: float) -> None:
        self._least = min(records_min, records_max)
        self._most = records_max
        self._s_aim = s_aim
        self.records = self._least

    def took(self, records: int, seconds: float) -> None:
        """So many were handled, in so long."""
        if seconds > self._s_aim:
            self.records = max(self._least, self.records // 2)
        elif records >= self.records and 2 * seconds <= self._s_aim:
            self.records = min(self._most, 2 * self.records)


    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:  # written so that NaN is refused, too
                raise UserError(f"{name}={getattr(self, name)!r} must be greater than 0.")
        if not self.max_hours >= 0:
            raise UserError(f"max_hours={self.max_hours!r} must be 0, for no limit, or more.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout!r} must be from 0 to less than 1.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed={self.seed!r} must be from 0 to {2**31 - 1}.")

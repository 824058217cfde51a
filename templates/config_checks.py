
    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:  # written so that NaN is refused, too
                raise UserError(f"{name}={getattr(self, name)!r} must be greater than 0.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed={self.seed!r} must be from 0 to {2**31 - 1}.")

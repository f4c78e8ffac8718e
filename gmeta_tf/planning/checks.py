"""Rules for the attributes of a plan's dataclasses."""

import dataclasses


def require(of, name: str, rule: str, holds: bool):
    """Raises ValueError unless an attribute of a dataclass keeps to its rule."""
    if not holds:
        default = next(f.default for f in dataclasses.fields(of) if f.name == name)
        remedy = "Mend it" if default is dataclasses.MISSING else f"Its default is {default}"
        raise ValueError(f"{name} must {rule}. Received: {name}={getattr(of, name)!r}. {remedy}.")

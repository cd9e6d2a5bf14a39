"""A reviewer's question, what the files say to it, and whether a person must look."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "look", "cannot know"]


@dataclass(frozen=True)
class Answer:
    """One line of an audit."""

    question: str
    answer: str
    """What the files say, in words."""
    verdict: Verdict
    why: str = ""
    """Why a person must look, or why nobody can know; may be empty where all is well."""

    @classmethod
    def fine(cls, question: str, answer: str, why: str = "") -> "Answer":
        """All is well."""
        return cls(question, answer, "ok", why)

    @classmethod
    def look(cls, question: str, answer: str, why: str) -> "Answer":
        """A person must look."""
        return cls(question, answer, "look", why)

    @classmethod
    def unknown(cls, question: str, why: str, answer: str = "not said") -> "Answer":
        """The files do not say it."""
        return cls(question, answer, "cannot know", why)


def listed(names: list[str], most: int = 5) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

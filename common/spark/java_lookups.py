"""Looks up Java's classes and their static methods once a session, instead of at every use.

PySpark asks Java for `functions`, `PythonSQLUtils` and the like by their short names at every operation on a column. Java then
searches some 300 jars for a class of that name, each again for every package that may hold it: a third of the processor time of
building queries (docs/performance-notebook.md).
"""

from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JVMView


class _CachingClass(JavaClass):
    """A class that looks up each of its static methods once."""

    def __getattr__(self, name: str) -> Any:
        member = super().__getattr__(name)
        if isinstance(member, JavaMember):
            self.__dict__[name] = member
        return member


class _CachingView(JVMView):
    """A view of the JVM that looks up each class once."""

    def __getattr__(self, name: str) -> Any:
        answer = super().__getattr__(name)
        if isinstance(answer, JavaClass):
            answer.__class__ = _CachingClass
            self.__dict__[name] = answer
        return answer


def keep_lookups(jvm: JVMView) -> None:
    """From now on `jvm` keeps the classes that it looks up, and these their static methods."""
    jvm.__class__ = _CachingView

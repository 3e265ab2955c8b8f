"""Java's classes and their static methods, looked up once a session.

PySpark asks Java for `functions`, `PythonSQLUtils` and the like by their short names at every operation on a column. Java then
looks for a class of that name in each of some 300 jars, and in each again for every package that may hold it, before it finds
it: a third of the processor time of building queries (docs/performance-notebook.md).
"""

from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JVMView


class _KnownClass(JavaClass):
    """A class whose static methods are asked for once."""

    def __getattr__(self, name: str) -> Any:
        member = super().__getattr__(name)
        if isinstance(member, JavaMember):
            self.__dict__[name] = member
        return member


class _KnownClasses(JVMView):
    """A view of the JVM in which a class is looked up once."""

    def __getattr__(self, name: str) -> Any:
        answer = super().__getattr__(name)
        if isinstance(answer, JavaClass):
            answer.__class__ = _KnownClass
            self.__dict__[name] = answer
        return answer


def keep_lookups(jvm: JVMView) -> None:
    """From now on `jvm` remembers the classes that it is asked for, and these their static methods."""
    jvm.__class__ = _KnownClasses

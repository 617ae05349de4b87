"""What a task's events come to: one recognition, the same for every transport."""

from __future__ import annotations

from asrproxy.plugin import Recognition, Word
from asrproxy_aliyun.parameters import joined
from asrproxy_aliyun.protocol import Ended, Finished, Happening, Namespace, Task


class Hearing:
    """Collects the happenings of one task of a recorded utterance."""

    def __init__(self, task: Task, *, words: bool, language: str | None) -> None:
        self._task = task
        self._words = words
        self._language = language
        self._sentences: list[Finished] = []

    def take(self, happening: Happening | None) -> Recognition | None:
        """The recognition, once the task has ended."""
        if isinstance(happening, Finished):
            self._sentences.append(happening)
        if not isinstance(happening, Ended):
            return None
        whole = self._task.namespace is Namespace.RECOGNIZER
        text = happening.text if whole else joined([sentence.text for sentence in self._sentences], self._language)
        words: tuple[Word, ...] | None = tuple(word for sentence in self._sentences for word in sentence.words) if self._words else None
        return Recognition(text, words=words, language=self._language, vendor_id=self._task.task_id)

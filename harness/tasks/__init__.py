"""The benchmarks: their data, prompts, protocols and graders."""

from harness.tasks.base import Problem, Score, TaskInfo
from harness.tasks.registry import list_tasks, load_task
from harness.tasks.task import Task

__all__ = ["Problem", "Score", "Task", "TaskInfo", "list_tasks", "load_task"]

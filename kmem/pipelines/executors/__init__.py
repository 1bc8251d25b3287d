"""Where the steps of a build run: in this process, in worker processes of this machine, or on a cluster. One file a kind."""

from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.executors.local import InProcess
from kmem.pipelines.executors.protocol import Executor
from kmem.pipelines.tools import Tools


def executor_of(config: ExecutorConfig, tools: Tools) -> Executor:
    """The executor asked for; `tools` are this process's. Raises MissingDependencyError without Dask, WorkersLostError for no answer."""
    if config.workers is None and config.scheduler is None:
        return InProcess(tools)
    from kmem.pipelines.executors.cluster import Cluster

    return Cluster(config)

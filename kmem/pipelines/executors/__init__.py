"""Where the steps of a build run: in this process, in worker processes of this machine, or on a cluster. One file a kind."""

from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.executors.local import InProcess
from kmem.pipelines.executors.protocol import Executor
from kmem.pipelines.tools import Tools


def executor_of(config: ExecutorConfig, tools: Tools, device: str) -> Executor:
    """The executor asked for. tools: this process's. device: where models run.

    Raises MissingDependencyError without Dask, WorkersLostError where no scheduler answers.
    """
    if config.workers is None and config.scheduler is None:
        return InProcess(tools)
    from kmem.pipelines.executors.cluster import Cluster

    return Cluster(config, device)

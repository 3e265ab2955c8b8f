"""Starts the agent: Flume's own Java program, with a source that follows files and a channel that is a Kafka topic."""

import os
from pathlib import Path

from common.embedded.jars import ensure_jars
from common.embedded.java import find_java
from common.embedded.supervise import SupervisedProcess, start_supervised

# No sink: Kafka acknowledges what the source has read before the source notes its position. With a channel in memory and a sink,
# what is in memory is lost when the agent is killed.
PROPERTIES = """\
agent.sources = files
agent.channels = topic

agent.sources.files.type = TAILDIR
agent.sources.files.channels = topic
agent.sources.files.positionFile = {folder}/position.json
agent.sources.files.filegroups = logs
agent.sources.files.filegroups.logs = {logs}/.*[.]log

agent.channels.topic.type = org.apache.flume.channel.kafka.KafkaChannel
agent.channels.topic.kafka.bootstrap.servers = {servers}
agent.channels.topic.kafka.topic = {topic}
agent.channels.topic.kafka.producer.acks = all
agent.channels.topic.parseAsFlumeEvent = false
"""


def start_agent(folder: Path, logs: Path, servers: str, topic: str) -> SupervisedProcess:
    """Start an agent that sends each line of the files `logs`/*.log to the topic, and notes in `folder` how far it has read.

    When started again with the same folder it goes on from there. It ends with this process at the latest.
    """
    folder.mkdir(exist_ok=True)
    (folder / "agent.properties").write_text(PROPERTIES.format(folder=folder, logs=logs, servers=servers, topic=topic))
    class_path = os.pathsep.join(map(str, ensure_jars("flume")))
    command = [
        str(find_java().executable),
        "-Xmx128m",
        "-cp",
        class_path,
        "org.apache.flume.node.Application",
        "-f",
        str(folder / "agent.properties"),
        "-n",
        "agent",
    ]
    return start_supervised(command, folder / "agent.log")

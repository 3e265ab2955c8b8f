"""An Apache Flume agent that feeds log files to Kafka, is killed in the middle, and loses nothing.

    .venv/bin/hybrid examples flume

A shop and its tills write logs; lines that come twice after the kill are recognised by their ids.
"""

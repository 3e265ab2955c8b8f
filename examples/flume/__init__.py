"""An Apache Flume agent that feeds log files to Kafka, is killed in the middle, and loses nothing."""

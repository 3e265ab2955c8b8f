"""The faults that the generator puts in: the rules meant to catch each, and what a plain threshold would look at."""

from pyspark.sql import functions as F

from common.vertical import Scenario

SCENARIOS = (
    Scenario("sleeping_cell", ("sleeping_cell",), lambda: -F.col("RRC_ConnEstabAtt")),
    Scenario("site_backhaul", ("site_alarm",), lambda: F.col("DRB_RlcPacketDropRateDl")),
    Scenario("interference", ("interference",), lambda: F.col("DRB_PacketLossRateUl")),
    Scenario("flapping", ("flapping",), lambda: F.col("RRU_CellUnavailableTime")),
    Scenario("congestion", ("congestion",), lambda: F.col("RRC_ConnEstabAtt") - F.col("RRC_ConnEstabSucc")),
    Scenario("degraded_cell", ("kpi_outlier",), lambda: F.col("DRB_RlcPacketDropRateDl")),
    Scenario("silent_cell", ("silent_cell",), lambda: -F.col("RRC_ConnMean")),
    Scenario("slow_drift", ("slow_drift",), lambda: -F.col("DRB_UEThpDl")),
)

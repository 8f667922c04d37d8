"""A sample of an engine's answers in parquet files."""

from multirecall.monitoring.request_log.forget import forget
from multirecall.monitoring.request_log.log import LogHealth, RequestLog
from multirecall.monitoring.request_log.settings import LogSettings
from multirecall.monitoring.request_log.table_reader import ids_of
from multirecall.monitoring.request_log.user_names import UserNames

__all__ = ["LogHealth", "LogSettings", "RequestLog", "UserNames", "forget", "ids_of"]

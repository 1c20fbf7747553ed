"""The sentences that clients of the older API match on, word for word."""

from typing import Final

BACKUP_DONE: Final = "Vector表备份完成"
NOTHING_DONE: Final = "未执行任何操作"
BACKUP_FAILED: Final = "Vector表备份失败"
OUTCOME_UNKNOWN: Final = "Vector表备份结果未知"
TRUNCATE_FAILED: Final = "Vector表清空失败"
RESTORE_DONE: Final = "Vector表恢复完成"
RESTORE_FAILED: Final = "Vector表恢复失败"
RESTORE_PLANNED: Final = "Vector表恢复预演完成,未执行任何更改"
BAD_TASK_ID: Final = "无效的task_id格式,只能包含字母、数字和下划线"
TASK_DIRECTORY_MISSING: Final = "指定的任务目录不存在: {task_id}"
PARAMS_MISSING: Final = "缺少必需参数"
CONNECTION_FAILED: Final = "数据库连接失败,请检查连接配置"
VERIFY_DONE: Final = "Vector表备份校验完成"
VERIFY_FAILED: Final = "Vector表备份校验失败"
NOTHING_TO_VERIFY: Final = "没有可校验的备份"

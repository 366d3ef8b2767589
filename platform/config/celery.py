"""The Celery application. Tasks live beside what they do: ``tenants/tasks.py``, ``servers/tasks.py``."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("marina")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _use_our_logging(**_: Any) -> None:
    import logging.config

    logging.config.dictConfig(settings.LOGGING)


def _refuse_wrong_key(**_: Any) -> None:
    from config.startup import require_master_key

    require_master_key()


setup_logging.connect(_use_our_logging)
worker_init.connect(_refuse_wrong_key)

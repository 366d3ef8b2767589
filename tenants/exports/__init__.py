"""Makes the files of exports: claims their rows, reads the log in windows, writes part by part. Knows no Celery."""

{% include cookiecutter.task ~ "/config.py" %}

{% include cookiecutter.task ~ "/test_data.py" %}

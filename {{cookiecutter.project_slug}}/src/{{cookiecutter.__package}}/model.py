{% include cookiecutter.task ~ "/model.py" %}
{% include "objective.py" %}

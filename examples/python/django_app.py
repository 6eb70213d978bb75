"""Django in one file. Debian has it as python3-django.

isbjorn run examples/python/django_app.py
"""
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=['127.0.0.1', 'localhost'], ROOT_URLCONF=__name__, SECRET_KEY='of an example')


def index(request):
    return HttpResponse('Hello from Django!\n', content_type='text/plain')


urlpatterns = [path('', index)]
application = get_wsgi_application()

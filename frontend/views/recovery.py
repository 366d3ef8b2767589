"""A forgotten password: a link by mail, by Django's own tokens. Whether an account exists shows in no answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from frontend.forms.people import ChoosePasswordForm, ForgottenForm
from frontend.pages import form_status, own_page
from frontend.sessions import visitor_address
from frontend.waiting import asked_to_wait
from tenants.models import User
from tenants.services.mail import claim_letter
from tenants.services.signins import end_sign_ins


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def forgotten(request: HttpRequest) -> HttpResponse:
    """Ask for the address. Known or not, what follows is the same page."""
    form = ForgottenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        email = form.cleaned_data["email"].lower()
        if wait := claim_letter(email, address=visitor_address(request)):
            return asked_to_wait(request, form, "forgotten.html", wait, what="letters were asked for")
        base = urlsplit(settings.ENV.base_url)
        form.save(domain_override=base.netloc, use_https=base.scheme == "https")
        return redirect("frontend:forgotten_sent")
    return own_page(render(request, "marina/forgotten.html", {"form": form}, status=form_status(form)))


@require_safe
def forgotten_sent(request: HttpRequest) -> HttpResponse:
    """Say where to look for the link."""
    context = {
        "title": "Look into your mail",
        "words": "If there is an account with this address, a link to choose a new password is on its way. It works "
        "once, for four hours.",
    }
    return render(request, "marina/gate_notice.html", context)


class ChoosePassword(PasswordResetConfirmView):
    """The page that the mailed link leads to; Django keeps the link's token out of its address. Ends every sign-in."""

    template_name = "marina/choose_password.html"
    form_class = ChoosePasswordForm
    success_url = reverse_lazy("frontend:password_chosen")

    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        if isinstance(self.user, User):
            end_sign_ins(self.user.pk)
        return answer


@require_safe
def password_chosen(request: HttpRequest) -> HttpResponse:
    """Say that it is done."""
    context = {
        "title": "Your password is changed",
        "words": "You are signed out everywhere. Sign in with the new password.",
        "sign_in": True,
    }
    return render(request, "marina/gate_notice.html", context)

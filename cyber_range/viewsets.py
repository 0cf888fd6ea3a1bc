"""The range's rows in Wagtail's admin: for looking up, not for changing what range-host owns."""

from __future__ import annotations

from wagtail.admin.viewsets.model import ModelViewSet

from cyber_range.models import RangeHost


class RangeHostViewSet(ModelViewSet):
    model = RangeHost
    icon = "desktop"
    menu_label = "靶场主机"
    add_to_admin_menu = True
    list_display = ("name", "driver", "state", "capacity", "free", "last_seen")
    form_fields = ("name", "socket", "queue")
    inspect_view_enabled = True

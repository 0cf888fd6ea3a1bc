from django.urls import path

from drills.consumers import RoomConsumer, TerminalConsumer

websocket_urlpatterns: list = [
    path("ws/drills/<int:pk>/", RoomConsumer.as_asgi()),
    path("ws/drills/<int:pk>/terminal/", TerminalConsumer.as_asgi()),
]

// The bell: reconnects by itself, and while it is away the page asks every three seconds.
import { config } from "./dom.js";

export function socketUrl(path) {
  const base = config.sockets || `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
  return base.replace(/^http/, "ws") + path;
}

export function listen({ bell, stream, line }) {
  let wait = 500;
  let socket = null;
  let up = false;
  const open = () => {
    socket = new WebSocket(socketUrl(`/ws/drills/${config.drill}/`));
    socket.addEventListener("open", () => { wait = 500; up = true; line(true); socket.send(JSON.stringify({ watch: !document.hidden })); });
    socket.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      if (message.bell) bell();
      else if (message.stream) stream(message);
    });
    socket.addEventListener("close", () => {
      up = false;
      line(false);
      setTimeout(open, wait + Math.random() * 300);
      wait = Math.min(wait * 2, 8000);
    });
  };
  open();
  setInterval(() => { if (!up) bell(); }, 3000);
  document.addEventListener("visibilitychange", () => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ watch: !document.hidden }));
    if (!document.hidden) bell();
  });
}

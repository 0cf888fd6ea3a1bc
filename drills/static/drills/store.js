// What happened, as far as this seat may see it. The socket only rings; content comes by GET after the last number.
import { config } from "./dom.js";

export const store = { events: [], byNumber: new Map(), cursor: 0, state: null, script: null, people: {}, skew: 0, phase: "" };
const listeners = [];
export const onChange = (listener) => listeners.push(listener);

let pulling = false;
let again = false;
export async function pull() {
  if (pulling) { again = true; return true; }
  pulling = true;
  try {
    do {
      again = false;
      const answer = await fetch(`/drills/${config.drill}/feed/?after=${store.cursor}`, { cache: "no-store" });
      if (answer.status === 403 || answer.redirected) { location.assign(`/drills/${config.drill}/`); return false; }
      if (!answer.ok) return false;
      const page = await answer.json();
      for (const event of page.events) {
        store.events.push(event);
        store.byNumber.set(event.n, event);
        store.cursor = event.n;
        if (event.kind === "script.set") store.script = event.payload;
      }
      store.state = page.state;
      store.people = page.people;
      store.phase = page.phase;
      store.skew = page.now - Date.now() / 1000;
      if (page.more) again = true;
      for (const listener of listeners) listener(store, page.events);
    } while (again);
    return true;
  } catch {
    return false;
  } finally {
    pulling = false;
  }
}

export const now = () => Date.now() / 1000 + store.skew;
export function drillClock() {
  const clock = store.state?.clock;
  if (!clock) return null;
  return clock.banked + (clock.since === null ? 0 : Math.max(0, now() - clock.since) * clock.speed);
}
// Drill second of an event, from its server time; pauses before it are the fold's business and small here.
export const name = (who) => store.people[who]?.name ?? "";
export const objective = (id) => store.script?.objectives.find((one) => one.id === id);
export const step = (id) => store.script?.steps?.find((one) => one.id === id);
export function inject(id) {
  const fired = store.state?.injects[id];
  const spec = fired?.spec ?? store.script?.injects?.find((one) => one.id === id);
  const event = fired && store.byNumber.get(fired.seq);
  if (event?.payload.adhoc) return { title: { zh: event.texts.title ?? "" }, body: { zh: event.texts.body ?? "" }, options: [], ...{ id } };
  return spec;
}

// The draft on the server and what this page knows of it. Every change goes one after the other, naming the revision it saw.
const token = () => decodeURIComponent(document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "");

export class Draft extends EventTarget {
  constructor(config) {
    super();
    this.urls = config.urls;
    this.words = config.words;
    this.state = config.state;
    this.past = [];
    this.future = [];
    this.line = Promise.resolve();
  }

  // Resolves to {ok, error, conflict}. `keep`: the change can be undone.
  send(where, body, { keep = true } = {}) {
    const job = this.line.then(() => this.#send(where, body, keep));
    this.line = job.catch(() => undefined);
    return job;
  }

  edit(edit) { return this.send("change", { edit }); }
  file(name, text) { return this.send("file", { name, text }); }

  async undo() {
    await this.line;
    const files = this.past.pop();
    if (!files) return { ok: false, error: "" };
    const now = this.state.files;
    const done = await this.send("undo", { files }, { keep: false });
    if (done.ok) this.future.push(now); else this.past.push(files);
    this.#tell("known");
    return done;
  }

  async redo() {
    await this.line;
    const files = this.future.pop();
    if (!files) return { ok: false, error: "" };
    const now = this.state.files;
    const done = await this.send("undo", { files }, { keep: false });
    if (done.ok) this.past.push(now); else this.future.push(files);
    this.#tell("known");
    return done;
  }

  async #send(where, body, keep) {
    this.#tell("saving");
    let answer;
    try {
      answer = await fetch(this.urls[where], {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": token() },
        body: JSON.stringify({ ...body, revision: this.state.revision }),
      });
    } catch {
      return this.#failed(this.words.offline);
    }
    if (answer.redirected || answer.status === 401 || answer.status === 403) { location.reload(); return { ok: false, error: "" }; }
    let said = {};
    try { said = await answer.json(); } catch { /* an error page */ }
    if (answer.status === 409) {
      this.#take(said.state);
      return { ...this.#failed(said.error), conflict: true };
    }
    if (!answer.ok || !said.state) return { ...this.#failed(said.error ?? this.words.offline), field: said.field };
    const before = this.state;
    if (keep && said.state.revision !== before.revision) {
      this.past.push(before.files);
      if (this.past.length > 60) this.past.shift();
      this.future = [];
    }
    this.#take(said.state);
    this.#tell("saved");
    return { ok: true, error: "" };
  }

  #take(state) { this.state = state; this.#tell("known"); }
  #failed(error) { this.dispatchEvent(new CustomEvent("failed", { detail: error })); return { ok: false, error }; }
  #tell(name) { this.dispatchEvent(new Event(name)); }
}

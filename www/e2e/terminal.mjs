/** The terminal of a guest in node: types commands, and waits for what they print. */

import assert from "node:assert/strict";

/** What a terminal would not show: returns, and how to paste. */
const NOT_SHOWN = ["\r", ...["h", "l"].map((letter) => `${String.fromCharCode(27)}[?2004${letter}`)];

/** The shell on a machine's terminal. */
export class Terminal {
  #shown = "";
  #commands = 0;

  /** @param patienceMs far more than any command takes */
  constructor(machine, patienceMs) {
    this.machine = machine;
    this.patienceMs = patienceMs;
    const decoder = new TextDecoder();
    machine.console.onData((bytes) => {
      const text = decoder.decode(bytes, { stream: true });
      this.#shown += NOT_SHOWN.reduce((rest, code) => rest.replaceAll(code, ""), text);
    });
  }

  /** Waits until the shell is there and Docker, which starts in the background, disturbs no more; from then on the terminal shows no commands. */
  async ready() {
    await this.waitFor(/[#$] $/);
    // What says that Docker is ready prints that, and a prompt, behind the file that it makes.
    const isReady = "[ -e /run/dinghy/docker-ready ] && ! pidof docker-ready >/dev/null";
    await this.run(`stty -echo; PS1=; until ${isReady}; do sleep 0.1; done`);
  }

  /** Resolves to what a command prints, without space around it, and its exit status. */
  async run(command) {
    this.#shown = "";
    const number = (this.#commands += 1);
    // A restored terminal shows again what it showed: the mark is nowhere in it.
    const mark = `ended-${number}-${Math.trunc(Math.random() * 1e9)}`;
    this.machine.console.write(`${command}\necho "${mark}-"$?-\n`);
    const [, text, status] = await this.waitFor(new RegExp(`^((?:.*\\n)*)${mark}-(\\d+)-$`, "m"));
    return { text: text.trim(), status: Number(status) };
  }

  /** Waits until what is shown since the last command matches. */
  async waitFor(pattern) {
    for (const deadline = Date.now() + this.patienceMs; Date.now() < deadline;) {
      const found = pattern.exec(this.#shown);
      if (found) return found;
      assert.equal(this.machine.exit, undefined, this.#shown);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`no ${pattern} in: ${this.#shown.slice(-2000)}`);
  }
}

/**
 * Where the processor's time of a cold boot to Docker and of a container goes, by V8's profiler in the page's workers:
 * by hand, with `DINGHY_TIME_SPLIT=1`, for the profiler takes its share.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Symbols, report } from "../lib/node/profile.js";
import { launch, open, timeline, waitForPhase, waitForTerminal } from "./browser.mjs";
import { serve } from "./server.mjs";

const PATIENCE_MS = 300_000;
const INTERVAL_US = 1000;
const isWanted = process.env.DINGHY_TIME_SPLIT !== undefined;

let browser;
before(async () => (browser = isWanted ? await launch() : undefined));
after(() => browser?.close());

/** The DevTools sessions of a page's workers, from their start on. */
class Workers {
  #next = 1;
  #waiting = new Map();
  #sessions = new Map();

  static async of(page) {
    const workers = new Workers();
    const devTools = (workers.devTools = await page.context().newCDPSession(page));
    devTools.on("Target.attachedToTarget", ({ sessionId, targetInfo }) => {
      if (targetInfo.type !== "worker") return;
      workers.#sessions.set(sessionId, targetInfo.url);
      for (const method of ["Profiler.enable", "Profiler.setSamplingInterval", "Profiler.start"]) {
        void workers.#send(sessionId, method, method.endsWith("Interval") ? { interval: INTERVAL_US } : {});
      }
      void workers.#send(sessionId, "Runtime.runIfWaitingForDebugger");
    });
    devTools.on("Target.receivedMessageFromTarget", ({ message }) => {
      const { id, result, error } = JSON.parse(message);
      const answer = workers.#waiting.get(id);
      workers.#waiting.delete(id);
      if (error) answer?.reject(new Error(error.message));
      else answer?.resolve(result);
    });
    await devTools.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: true, flatten: false });
    return workers;
  }

  #send(sessionId, method, params = {}) {
    const id = this.#next++;
    const message = JSON.stringify({ id, method, params });
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    void this.devTools.send("Target.sendMessageToTarget", { sessionId, message });
    return answer;
  }

  /** Ends sampling: the profile of each worker, by its address. */
  async profiles() {
    const stopped = [...this.#sessions].map(async ([sessionId, url]) => {
      const { profile } = await this.#send(sessionId, "Profiler.stop");
      return [url, profile];
    });
    return Promise.all(stopped);
  }
}

/** Names the function that a worker waits in, whose name is lost in the page's build: it alone takes long there. */
function nameWaiting(profile) {
  const scripts = profile.nodes.filter(({ callFrame }) => callFrame.url.endsWith(".js"));
  scripts.sort((one, other) => (other.hitCount ?? 0) - (one.hitCount ?? 0));
  if (scripts[0]) scripts[0].callFrame.functionName = "waitForAttention";
}

test(
  "the time of a boot, by what it goes to",
  { skip: !isWanted && "DINGHY_TIME_SPLIT is not set", timeout: PATIENCE_MS },
  async () => {
    const server = await serve({ isolated: true });
    try {
      const page = await open(browser, "about:blank");
      const workers = await Workers.of(page);
      await page.goto(`${server.address}?start=boot`);
      await waitForPhase(page, "Docker ready", PATIENCE_MS);
      await waitForTerminal(page, /[#$] *$/m, PATIENCE_MS);
      await page.locator("#terminal").click();
      await page.keyboard.type("docker run --rm busybox echo hello\n");
      await waitForTerminal(page, /^hello$/m, PATIENCE_MS);
      console.log(await timeline(page));
      const profiles = await workers.profiles();
      assert.ok(profiles.length > 0, "no worker was sampled");
      for (const [url, profile] of profiles) {
        nameWaiting(profile);
        const text = report(profile, new Symbols(""));
        console.log(`${new URL(url).pathname}: ${text.split("\n").slice(0, 10).join("\n")}\n`);
        console.log(text.slice(text.indexOf("in the emulator")).split("\n").slice(0, 16).join("\n"));
      }
    } finally {
      server.close();
    }
  },
);

/** The page: a machine, its terminal, and what is around them. */

import "./style.css";

import { checkEngine, chooseBuild, DEFAULT_MEMORY_MIB, type Exit, Machine, type Phase } from "dinghy";

import { isolate } from "./isolation.js";
import { openTerminal } from "./terminal.js";
import { View } from "./view.js";

/** The images that stand beside the page. */
const IMAGES = {
  kernel: "kernel/vmlinux.gz",
  guest: "guest/guest.ext4",
  snapshot: "guest/docker.snapshot",
} as const;

/** What the marks on the guest's serial port mean to a visitor. */
const MARKS: Readonly<Record<string, { state: "busy" | "ready"; text: string }>> = {
  "docker-ready": { state: "ready", text: "Docker ready" },
};

const parameters = new URL(location.href).searchParams;
const view = new View();
const terminal = openTerminal(view.terminal);
let machine: Machine | undefined;
let hasPressedPower = false;
/** Whether the next start may go on from the snapshot: a restart means to boot, and so does `?start=boot`. */
let mayRestore = parameters.get("start") !== "boot";
/** Whether the guest runs but has not reached its shell. */
let isBooting = false;
/** The last error since the start; if the machine ends by itself, it is why. */
let lastError: string | undefined;

terminal.onData((text) => machine?.console.write(text));
// Some terminal replies are bytes that are no text.
terminal.onBinary((bytes) => machine?.console.write(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))));
terminal.onResize(({ cols, rows }) => machine?.console.resize(cols, rows));
view.logButton.onclick = () => {
  view.toggleLog();
  if (view.isLogShown) showLog();
  else terminal.focus();
};
view.powerButton.onclick = pressPower;

await isolate();
await boot();

async function boot(): Promise<void> {
  machine = undefined;
  hasPressedPower = false;
  lastError = undefined;
  terminal.reset();
  view.hidePanel();
  view.showNotice("info", "");
  view.showPhase("busy", "Starting");
  view.showPower("Power off", false);
  view.showMemory(DEFAULT_MEMORY_MIB);
  try {
    await showBuild();
    machine = await start();
  } catch (error) {
    view.showPhase("failed", "Could not start");
    view.showPanel({
      title: "dinghy could not start",
      text: error instanceof Error ? error.message : String(error),
      button: "Try again",
      onButton: () => location.reload(),
    });
    return;
  }
  attach(machine);
}

/** Goes on from the snapshot, the first time and where there is one; else boots. */
async function start(): Promise<Machine> {
  const options = {
    disks: [IMAGES.guest],
    engine: checkEngine(parameters.get("engine") ?? "auto"),
    size: { columns: terminal.cols, rows: terminal.rows },
    onPhase: showPhase,
  };
  const restores = mayRestore && (await isThere(IMAGES.snapshot));
  mayRestore = false;
  if (restores) {
    try {
      return await Machine.restore({ ...options, snapshot: IMAGES.snapshot });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      view.showNotice("error", `Booting, because the saved machine cannot be used: ${reason}`);
    }
  }
  return Machine.boot({ ...options, kernel: IMAGES.kernel });
}

/** Whether the server has a file. */
async function isThere(path: string): Promise<boolean> {
  // A server that cannot be reached is told by the download of what is needed in any case.
  const answer = await fetch(path, { method: "HEAD" }).catch(() => undefined);
  return answer?.ok === true && !answer.headers.get("content-type")?.startsWith("text/html");
}

async function showBuild(): Promise<void> {
  if ((await chooseBuild()) === "unshared") {
    view.showNotice("info", "Slower: this page is not cross-origin isolated, so all runs in one worker.");
  }
}

function attach(started: Machine): void {
  started.console.onData((bytes) => {
    terminal.write(bytes);
    // The first thing on the terminal is the shell; Docker starts behind it.
    if (isBooting) view.showPhase("busy", "Starting Docker");
    isBooting = false;
  });
  started.serial.onData(() => {
    if (view.isLogShown) showLog();
  });
  started.on("status", (status) => view.showStatus(status));
  started.on("error", ({ message }) => {
    lastError = message;
    view.showNotice("error", message);
  });
  started.on("exit", showExit);
  started.console.resize(terminal.cols, terminal.rows);
  view.showPower("Power off", true);
  terminal.focus();
}

function showLog(): void {
  view.setLog(machine?.bootLog ?? "");
}

function showPhase(phase: Phase): void {
  switch (phase.name) {
    case "downloading":
      view.showDownload(phase.loadedBytes, phase.totalBytes);
      break;
    case "booting":
      isBooting = true;
      view.hideDownload();
      view.showPhase("busy", "Booting Linux");
      break;
    case "mark": {
      const mark = MARKS[phase.mark];
      isBooting = false;
      if (mark) view.showPhase(mark.state, mark.text);
      break;
    }
  }
}

/** The first press asks the guest to shut down, the second cuts the power, a further one starts it again. */
function pressPower(): void {
  if (!machine || machine.exit) {
    void boot();
  } else if (hasPressedPower) {
    machine.stop();
  } else {
    hasPressedPower = true;
    machine.powerButton();
    view.showPhase("busy", "Shutting down");
    view.showPower("Force off", true, true);
  }
}

function showExit({ reason, code, lastLines }: Exit): void {
  view.showPower("Start", true);
  view.showPhase(reason === "panicked" || reason === "triple-fault" ? "failed" : "off", "Off");
  const restart = { button: "Start", onButton: () => void boot() };
  switch (reason) {
    case "restarted":
      void boot();
      break;
    case "powered-off":
      view.showPanel({ title: "The machine is off", text: "The guest has shut down.", ...restart });
      break;
    case "exited":
      view.showPanel({ title: "The machine is off", text: `The guest ended it with code ${code}.`, ...restart });
      break;
    case "stopped":
      view.showPanel({
        title: "The machine was stopped",
        text: hasPressedPower ? "Its power was cut." : (lastError ?? "The emulator ended it."),
        ...restart,
      });
      break;
    case "panicked":
    case "triple-fault":
      view.showPhase("failed", "Crashed");
      view.showPanel({
        title: reason === "panicked" ? "The guest's kernel panicked" : "The guest's processor shut down",
        text:
          (reason === "panicked" ? "" : "It met a third fault while it was handling two others. ") +
          "These are the last lines on its consoles. Restart it; if it happens again, report them.",
        lines: lastLines,
        ...restart,
        button: "Restart",
      });
      break;
  }
}

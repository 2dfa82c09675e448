/** The page: a machine, its terminal, and what is around them. */

import "./style.css";

import {
  checkEngine,
  chooseBuild,
  DEFAULT_COMMAND_LINE,
  DEFAULT_MEMORY_MIB,
  DinghyError,
  type Exit,
  forgetKept,
  isMachineKept,
  type Kept,
  Machine,
  overlayBytes,
  type Phase,
  prepare,
} from "dinghy";

import { DiskPanel } from "./disk.js";
import { FOLDER_TAG, FolderDialog } from "./folder.js";
import * as format from "./format.js";
import { ImagesDialog } from "./images.js";
import { isolate } from "./isolation.js";
import { NetworkDialog } from "./network.js";
import { keepForOffline } from "./offline.js";
import { PeersDialog } from "./peers.js";
import { openPreview, type Preview } from "./preview.js";
import { imageCacheBytes, network, registries } from "./relay.js";
import { openTerminal } from "./terminal.js";
import { View } from "./view.js";

/** The images that stand beside the page. */
const IMAGES = {
  kernel: "kernel/vmlinux.gz",
  guest: "guest/chunks/manifest.json",
  snapshot: "guest/docker.snapshot",
} as const;

/** The overlay that keeps what the guest writes. */
const OVERLAY = "home";

/** The guest writes to its disk what is some seconds old: a tab closes without asking it. */
const COMMAND_LINE = `${DEFAULT_COMMAND_LINE} sysctl.vm.dirty_expire_centisecs=300 sysctl.vm.dirty_writeback_centisecs=100`;

/** What a start needs of the network, it has asked for by then. */
const OFFLINE_DELAY_MS = 10_000;

/** When the page was opened, in the terms of `performance.now()`, is 0: its marks are milliseconds from then. */
const mark = (name: string, detail?: unknown): void => void performance.mark(`dinghy:${name}`, { detail });

/** What the marks on the guest's serial port mean to a visitor. */
const MARKS: Readonly<Record<string, { state: "busy" | "ready"; text: string }>> = {
  "docker-ready": { state: "ready", text: "Docker ready" },
};

const parameters = new URL(location.href).searchParams;
const view = new View();
const terminal = openTerminal(view.terminal);
let machine: Machine | undefined;
/** Whether what the guest writes is not kept, because another tab has the disk. */
let isScratch = false;
let hasPressedPower = false;
/** The port whose preview is open. */
let openPort: number | undefined;
let preview: Preview | undefined;
/** Whether the next start may go on from the snapshot: a restart means to boot, and so does `?start=boot`. */
let mayRestore = parameters.get("start") !== "boot";
/** Bytes that the running machine takes where it is kept. */
let keptBytes = 0;
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
view.previewReload.onclick = () => {
  if (openPort !== undefined) void showPreview(openPort);
};
view.previewClose.onclick = () => void showPreview(undefined);
const diskPanel = new DiskPanel(view, OVERLAY, () => machine !== undefined && !machine.exit && !isScratch, {
  start: () => void boot(),
  closed: () => terminal.focus(),
});
const peersDialog = new PeersDialog(
  () => machine,
  () => terminal.focus(),
);
const imagesDialog = new ImagesDialog(registries(), imageCacheBytes(), () => terminal.focus());
const networkDialog = new NetworkDialog(network(), () => terminal.focus());
view.networkButton.onclick = () => networkDialog.open();
const folderDialog = new FolderDialog(
  () => machine,
  (message) => view.showNotice("info", message),
  () => terminal.focus(),
);
view.folderButton.onclick = () => folderDialog.open();
view.imagesButton.onclick = () => void imagesDialog.open();
view.peersButton.onclick = () => peersDialog.open();
view.diskButton.onclick = () => void diskPanel.toggle();

// Most pages are not told that they are closed, but all that they are hidden.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") machine?.keep();
});

// A page that the browser had put aside comes back without its machine, which was kept.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

await isolate();
prepare();
await boot();

async function boot(): Promise<void> {
  machine = undefined;
  void showPreview(undefined);
  hasPressedPower = false;
  lastError = undefined;
  terminal.reset();
  view.hidePanel();
  view.showNotice("info", "");
  view.showPhase("busy", "Starting");
  view.showPower("Power off", false);
  view.showMemory(DEFAULT_MEMORY_MIB);
  mark("starts");
  try {
    await showBuild();
    machine = await start();
  } catch (error) {
    view.showPhase("failed", "Could not start");
    if (error instanceof DinghyError && error.code === "disk-in-use") {
      showDiskInUse();
      return;
    }
    view.showPanel({
      title: "dinghy could not start",
      text: error instanceof Error ? error.message : String(error),
      button: "Try again",
      onButton: () => location.reload(),
    });
    return;
  }
  attach(machine);
  void folderDialog.shareAgain();
}

/** Two machines on one disk would destroy its file system. */
function showDiskInUse(): void {
  view.showPanel({
    title: "The disk is in use in another tab",
    text:
      "This machine runs in another tab of this browser. Close that one and try again, " +
      "or start here with a fresh disk, whose changes are gone when this tab closes.",
    button: "Try again",
    onButton: () => void boot(),
    others: [
      {
        text: "Start with a fresh disk",
        isEnabled: true,
        onClick: () => {
          isScratch = true;
          void boot();
        },
      },
    ],
  });
}

/** Says how much of the guest's disk, and of its memory, this browser keeps. */
async function showDisk(kept?: Kept): Promise<void> {
  keptBytes = kept?.fileBytes ?? keptBytes;
  view.showDisk(isScratch ? "not kept" : `${format.megabytes((await overlayBytes(OVERLAY)) + keptBytes)} kept`);
}

/**
 * Goes on with the machine of the last visit; else from the snapshot, the first time and where there is one; else boots.
 *
 * A snapshot holds in its memory what the disk was when it was saved. A kept disk that was written to since is another
 * one, and would be destroyed: it is booted from. A start that goes on from the snapshot writes the snapshot's changes
 * to the empty overlay, so that the next one finds a whole disk there.
 */
async function start(): Promise<Machine> {
  const options = {
    disks: [{ manifest: IMAGES.guest, ...(isScratch ? {} : { overlay: OVERLAY }) }],
    engine: checkEngine(parameters.get("engine") ?? "auto"),
    size: { columns: terminal.cols, rows: terminal.rows },
    network: network(),
    // What is served there, if anything, the user says later.
    shares: [{ tag: FOLDER_TAG }],
    onPhase: showPhase,
  };
  if (mayRestore && !isScratch && (await isMachineKept(OVERLAY))) {
    try {
      const resumed = await Machine.resume(options);
      mayRestore = false;
      mark("resumed");
      return resumed;
    } catch (error) {
      if (!(error instanceof DinghyError && error.code === "nothing-kept")) throw error;
      console.info(`The machine of the last visit does not go on: ${error.message}`);
    }
  }
  const kept = { ...options, keep: !isScratch };
  const [isUnwritten, hasSnapshot] = await Promise.all([
    isScratch || overlayBytes(OVERLAY).then((bytes) => bytes === 0),
    mayRestore && isThere(IMAGES.snapshot),
  ]);
  const restores = mayRestore && isUnwritten && hasSnapshot;
  if (restores) {
    try {
      const restored = await Machine.restore({ ...kept, snapshot: IMAGES.snapshot });
      mayRestore = false;
      mark("restored");
      return restored;
    } catch (error) {
      // Another tab has the disk: what is chosen then may still go on from the snapshot.
      if (error instanceof DinghyError && error.code === "disk-in-use") throw error;
      const reason = error instanceof Error ? error.message : String(error);
      view.showNotice("error", `Booting, because the saved machine cannot be used: ${reason}`);
    }
  }
  const booted = await Machine.boot({ ...kept, kernel: IMAGES.kernel, commandLine: COMMAND_LINE });
  mayRestore = false;
  mark("booted");
  return booted;
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
  let hasPrinted = false;
  started.console.onData((bytes) => {
    if (!hasPrinted) mark("first-output");
    hasPrinted = true;
    terminal.write(bytes);
    // The first thing on the terminal is the shell; Docker starts behind it.
    if (isBooting) view.showPhase("busy", "Starting Docker");
    isBooting = false;
  });
  started.serial.onData(() => {
    if (view.isLogShown) showLog();
  });
  // Asks the browser not to clear what the guest has written when room gets scarce; a refusal changes nothing.
  if (!isScratch) void navigator.storage.persist();
  let statuses = 0;
  started.on("status", (status) => {
    view.showStatus(status);
    // Asking for a file's size costs more than the other figures.
    if (statuses % 10 === 0) void showDisk();
    statuses += 1;
  });
  started.on("error", ({ message }) => {
    lastError = message;
    view.showNotice("error", message);
  });
  started.on("registry", (event) => {
    if (event.kind === "changed" || event.kind === "forgotten") imagesDialog.changed();
    if (event.kind === "failed") {
      view.showNotice("error", event.message);
    } else if (event.kind === "progress") {
      const { image, bytes, totalBytes } = event;
      const whole = totalBytes === undefined ? "" : ` of ${format.megabytes(totalBytes)}`;
      const isOver = bytes === totalBytes;
      view.showNotice("info", isOver ? "" : `Pulling ${image}: ${format.megabytes(bytes)}${whole}`);
    }
  });
  started.on("peers", () => peersDialog.show());
  const room = parameters.get("peers");
  if (room !== null) started.joinPeers(room === "" ? undefined : room);
  started.on("ports", (ports) => {
    // What answers no more is not shown any longer.
    if (openPort !== undefined && !ports.includes(openPort)) void showPreview(undefined);
    else showPorts();
  });
  started.on("kept", (kept) => {
    mark("kept", kept);
    void showDisk(kept);
  });
  started.on("exit", showExit);
  started.console.resize(terminal.cols, terminal.rows);
  setTimeout(() => void keepForOffline(), OFFLINE_DELAY_MS);
  view.showPower("Power off", true);
  terminal.focus();
}

function showPorts(): void {
  const ports = machine && !machine.exit ? machine.ports : [];
  view.showPorts(ports, openPort, (port) => void showPreview(port === openPort ? undefined : port));
}

/** Shows the preview of a port, anew if it is shown already, or none. */
async function showPreview(port: number | undefined): Promise<void> {
  preview?.close();
  preview = undefined;
  openPort = port;
  view.showPreview(port);
  showPorts();
  if (port === undefined || !machine) return;
  try {
    const opened = await openPreview(machine, port, view.previewFrame);
    if (isShown(port)) preview = opened;
    else opened.close();
  } catch (error) {
    view.showNotice(
      "error",
      `Port ${port} cannot be shown: ${error instanceof Error ? error.message : String(error)}.`,
    );
    void showPreview(undefined);
  }
}

/** Whether a preview of this port is wanted, and none is there yet. */
function isShown(port: number): boolean {
  return openPort === port && !preview;
}

function showLog(): void {
  view.setLog(machine?.bootLog ?? "");
}

function showPhase(phase: Phase): void {
  switch (phase.name) {
    case "downloading":
      view.showDownload(phase.loadedBytes, phase.totalBytes);
      break;
    case "milestone":
      performance.mark(`dinghy:${phase.milestone}`, { startTime: Math.max(phase.at - performance.timeOrigin, 0) });
      break;
    case "booting":
      mark("running");
      isBooting = true;
      view.hideDownload();
      view.showPhase("busy", "Booting Linux");
      break;
    case "mark": {
      const shown = MARKS[phase.mark];
      mark(phase.mark);
      if (shown) {
        isBooting = false;
        view.showPhase(shown.state, shown.text);
      }
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
  keptBytes = 0;
  // Whoever turns a machine off does not want it to go on; one that has ended by itself has forgotten itself.
  if (reason === "stopped" && !isScratch) void machine?.gone.then(() => forgetKept(OVERLAY)).catch(() => undefined);
  view.showPower("Start", true);
  void showPreview(undefined);
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

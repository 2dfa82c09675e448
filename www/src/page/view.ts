/** The page's elements, and what they can show. Knows nothing of machines. */

import type { Status } from "dinghy";

import * as format from "./format.js";

/** The colour of the phase: under way, ready for work, off, broken. */
export type PhaseState = "busy" | "ready" | "off" | "failed";

/** A panel over the terminal. */
export interface Panel {
  title: string;
  text: string;
  /** Lines of the guest's consoles. */
  lines?: readonly string[];
  button: string;
  onButton: () => void;
  /** Further buttons, which do something else. */
  others?: readonly PanelAction[];
}

/** A further button of a panel. */
export interface PanelAction {
  text: string;
  isEnabled: boolean;
  onClick: () => void;
}

/** Finds an element that index.html has. */
export function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element #${id}`);
  return found;
}

/** Finds a button that index.html has. */
function button(id: string): HTMLButtonElement {
  const found = element(id);
  if (!(found instanceof HTMLButtonElement)) throw new Error(`#${id} in index.html is no button`);
  return found;
}

/** What the page shows around the terminal. */
export class View {
  readonly terminal = element("terminal");
  readonly logButton = button("log-button");
  readonly diskButton = button("disk-button");
  readonly imagesButton = button("images-button");
  readonly networkButton = button("network-button");
  readonly folderButton = button("folder-button");
  readonly peersButton = button("peers-button");
  readonly powerButton = button("power-button");
  readonly previewFrame = element("preview-frame");
  readonly previewReload = button("preview-reload");
  readonly previewClose = button("preview-close");
  readonly #phase = element("phase");
  readonly #phaseText = element("phase-text");
  readonly #powerText = element("power-text");
  readonly #progress = element("progress");
  readonly #progressBar = element("progress-bar");
  readonly #bootLog = element("boot-log");
  readonly #panel = element("panel");
  readonly #panelButton = button("panel-button");
  readonly #notice = element("notice");

  /** Names the phase that the machine is in. */
  showPhase(state: PhaseState, text: string): void {
    this.#phase.dataset.state = state;
    this.#phaseText.textContent = text;
    if (state !== "busy") this.#progress.hidden = true;
  }

  /** Shows how far a download is; without a known total, only what has come. */
  showDownload(loadedBytes: number, totalBytes: number | undefined): void {
    const known = totalBytes !== undefined && totalBytes >= loadedBytes ? totalBytes : undefined;
    const of = known === undefined ? "" : ` of ${format.megabytes(known)}`;
    this.showPhase("busy", `Downloading ${format.megabytes(loadedBytes)}${of}`);
    this.#progress.hidden = known === undefined;
    this.#progressBar.style.width = `${(100 * loadedBytes) / (known ?? 1)}%`;
  }

  /** Takes the progress bar away. */
  hideDownload(): void {
    this.#progress.hidden = true;
  }

  /** Shows a running machine's figures. */
  showStatus({ mips, uptimeSeconds }: Status): void {
    element("speed").textContent = format.speed(mips);
    element("uptime").textContent = format.duration(uptimeSeconds);
  }

  /** Shows the size of the guest's memory. */
  showMemory(memoryMiB: number): void {
    element("memory").textContent = format.memory(memoryMiB);
  }

  /** A remark in the status line. */
  showNotice(kind: "info" | "error", text: string): void {
    this.#notice.dataset.kind = kind;
    this.#notice.textContent = text;
  }

  /** Names what the power button does next; `insists` marks the one that cuts the power. */
  showPower(text: string, isEnabled: boolean, insists = false): void {
    this.#powerText.textContent = text;
    this.powerButton.setAttribute("aria-label", text);
    this.powerButton.title = text;
    this.powerButton.disabled = !isEnabled;
    this.powerButton.dataset.insists = String(insists);
  }

  /** Shows a panel over the terminal. */
  showPanel({ title, text, lines = [], button: action, onButton, others = [] }: Panel): void {
    element("panel-title").textContent = title;
    element("panel-text").textContent = text;
    const pre = element("panel-lines");
    pre.hidden = lines.length === 0;
    pre.textContent = lines.join("\n");
    this.#panelButton.textContent = action;
    this.#panelButton.onclick = onButton;
    element("panel-others").replaceChildren(
      ...others.map(({ text: name, isEnabled, onClick }) => {
        const other = document.createElement("button");
        other.type = "button";
        other.textContent = name;
        other.disabled = !isEnabled;
        other.onclick = onClick;
        return other;
      }),
    );
    this.#panel.hidden = false;
    this.#panelButton.focus();
  }

  /** Shows what becomes of what the guest writes. */
  showDisk(text: string): void {
    element("disk").textContent = text;
  }

  /** Whether a panel covers the terminal. */
  get isPanelShown(): boolean {
    return !this.#panel.hidden;
  }

  /** Takes the panel away. */
  hidePanel(): void {
    this.#panel.hidden = true;
  }

  /** Shows a button for each port, the one that is open pressed. */
  showPorts(ports: readonly number[], open: number | undefined, onPort: (port: number) => void): void {
    const buttons = ports.map((port) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = `:${port}`;
      chip.title = `Show the web server at port ${port} of the guest`;
      chip.setAttribute("aria-pressed", String(port === open));
      chip.onclick = () => onPort(port);
      return chip;
    });
    element("ports").replaceChildren(...buttons);
  }

  /** Makes room for the preview of a port beside the terminal, or takes it away. */
  showPreview(port: number | undefined): void {
    element("preview").hidden = port === undefined;
    element("preview-title").textContent = port === undefined ? "" : `Port ${port}`;
  }

  /** Whether the boot log covers the terminal. */
  get isLogShown(): boolean {
    return !this.#bootLog.hidden;
  }

  /** Covers the terminal with the boot log, or uncovers it. */
  toggleLog(): void {
    this.#bootLog.hidden = !this.#bootLog.hidden;
    this.logButton.setAttribute("aria-pressed", String(this.isLogShown));
  }

  /** Puts text in the boot log; stays at its end if it was there. */
  setLog(text: string): void {
    const log = this.#bootLog;
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = text === "" ? "The guest has not printed anything on its serial port yet." : text;
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }
}

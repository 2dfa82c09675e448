/** The panel about the guest's disk: how much of it is kept, and its export, import and reset. */

import { clearImages, exportOverlay, imageBytes, importOverlay, overlayBytes, resetOverlay } from "dinghy";

import * as format from "./format.js";
import type { View } from "./view.js";

/** What the panel asks of the page. */
export interface DiskPanelActions {
  /** Starts the machine. */
  start: () => void;
  /** The panel was closed, with the machine running. */
  closed: () => void;
}

/** The panel of one overlay. */
export class DiskPanel {
  /** @param isRunning whether a machine uses the overlay now */
  constructor(
    private readonly view: View,
    private readonly overlay: string,
    private readonly isRunning: () => boolean,
    private readonly actions: DiskPanelActions,
  ) {}

  /** Shows the panel, or takes it away while the machine runs. */
  async toggle(): Promise<void> {
    if (this.view.isPanelShown && this.isRunning()) this.#close();
    else await this.#show("");
  }

  #close(): void {
    this.view.hidePanel();
    this.actions.closed();
  }

  async #show(remark: string): Promise<void> {
    const bytes = await overlayBytes(this.overlay);
    const images = await imageBytes().catch(() => 0);
    const isRunning = this.isRunning();
    const state = bytes === 0 ? "Nothing is kept yet." : `${format.megabytes(bytes)} are kept.`;
    const advice = isRunning ? " Power the machine off to export, import or reset its disk." : "";
    const pulled = images === 0 ? "" : ` Pulled images take ${format.megabytes(images)} besides.`;
    const action = (text: string, isEnabled: boolean, action: () => Promise<string>) => ({
      text,
      isEnabled: isEnabled && !isRunning,
      onClick: () => void this.#run(action),
    });
    this.view.showPanel({
      title: "Disk",
      text: `${remark === "" ? "" : `${remark} `}This browser keeps what the guest writes to its disk. ${state}${pulled}${advice}`,
      button: isRunning ? "Close" : "Start",
      onButton: () => (isRunning ? this.#close() : this.actions.start()),
      others: [
        action("Export", bytes > 0, () => this.#export()),
        action("Import", true, () => this.#import()),
        action("Reset", bytes > 0, () => this.#reset()),
        {
          text: "Forget pulled images",
          isEnabled: images > 0,
          onClick: () => void this.#run(() => clearImages().then(() => "The pulled images were forgotten.")),
        },
      ],
    });
  }

  /** Does something that ends in a remark, and shows that, or why it failed. */
  async #run(action: () => Promise<string>): Promise<void> {
    try {
      await this.#show(await action());
    } catch (error) {
      await this.#show(error instanceof Error ? error.message : String(error));
    }
  }

  async #export(): Promise<string> {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await exportOverlay(this.overlay));
    link.download = "dinghy-disk.overlay";
    link.click();
    // The download has begun; the address is not needed for long.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    return "The disk was exported.";
  }

  async #import(): Promise<string> {
    const file = await chooseFile();
    if (!file) return "No file was chosen.";
    await importOverlay(this.overlay, file);
    return "The disk was imported.";
  }

  async #reset(): Promise<string> {
    if (!confirm("Forget all that the guest has written: containers, images, files?")) return "Nothing was changed.";
    await resetOverlay(this.overlay);
    return "The disk is as it was at first.";
  }
}

/** Lets the user choose a file. */
function chooseFile(): Promise<File | undefined> {
  return new Promise((resolve) => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ".overlay";
    input.onchange = () => resolve(input.files?.[0]);
    input.oncancel = () => resolve(undefined);
    input.click();
  });
}

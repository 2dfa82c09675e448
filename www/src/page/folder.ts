/** The dialog about the directory that the guest finds at /mnt/host: one of this computer, or of this browser. */

import { browserDirectory, DinghyError, type Machine } from "dinghy";

import { element } from "./view.js";

/** The tag under which the guest looks for it. */
export const FOLDER_TAG = "host";

/** The directory of the browser's private file system that it can be. */
const PRIVATE_FOLDER = "dinghy-files";

/** What the types of TypeScript lack: not all browsers have it. */
type Picker = (options: { mode: "read" | "readwrite" }) => Promise<FileSystemDirectoryHandle>;
const picker = (globalThis as { showDirectoryPicker?: Picker }).showDirectoryPicker;

/** Chooses the directory. */
export class FolderDialog {
  readonly #dialog = element("folder") as HTMLDialogElement;
  readonly #writes = element("folder-writes") as HTMLInputElement;
  readonly #hint = element("folder-hint");

  /**
   * @param machine the running machine, if there is one
   * @param closed called when the dialog is closed
   */
  constructor(
    private readonly machine: () => Machine | undefined,
    closed: () => void,
  ) {
    const pick = element("folder-pick") as HTMLButtonElement;
    pick.disabled = picker === undefined;
    pick.onclick = () => void this.#say(this.#pick());
    element("folder-private").onclick = () => void this.#say(this.#openPrivate());
    element("folder-close").onclick = () => this.#dialog.close();
    this.#dialog.onclose = closed;
  }

  /** Opens it. */
  open(): void {
    this.#dialog.showModal();
  }

  async #pick(): Promise<string> {
    // The browser asks the user, and refuses what the page was not granted.
    const folder = await picker?.({ mode: this.#writes.checked ? "readwrite" : "read" });
    return folder ? this.#share(folder, `The folder ${folder.name}`) : "";
  }

  async #openPrivate(): Promise<string> {
    const files = await navigator.storage.getDirectory();
    return this.#share(await files.getDirectoryHandle(PRIVATE_FOLDER, { create: true }), "This browser's own folder");
  }

  #share(folder: FileSystemDirectoryHandle, name: string): string {
    const machine = this.machine();
    if (!machine || machine.exit) throw new DinghyError("There is no running machine.");
    machine.share(FOLDER_TAG, browserDirectory(folder));
    return `${name} is at /mnt/host in the guest.`;
  }

  async #say(what: Promise<string>): Promise<void> {
    this.#hint.textContent = await what.catch((error: unknown) => {
      // The user has chosen none.
      if (error instanceof DOMException && error.name === "AbortError") return "";
      return error instanceof Error ? error.message : String(error);
    });
  }
}
